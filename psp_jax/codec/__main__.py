"""The command line of the codec; `transcode` does the work."""

from absl import app

from psp_jax.codec import transcode

if __name__ == "__main__":
    app.run(transcode.main, flags_parser=transcode.parse)
