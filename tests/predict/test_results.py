import cv2
import numpy as np

from psp_jax.predict.results import Coarse, Result


def test_a_result_tells_what_it_holds_and_shows_it():
    depth_m = np.linspace(1, 3, 12 * 16, dtype=np.float32).reshape(12, 16)
    regions = np.zeros((12, 16), np.int32)
    regions[:, 8:] = 1
    image = np.full((48, 65, 3), 100, np.uint8)
    result = Result("sofa", image, Coarse(depth_m, regions=regions))
    assert repr(result) == "Result('sofa', 48x65 pixels, 2 regions, depth 1.00 to 3.00 m)"
    shown = cv2.imdecode(np.frombuffer(result._repr_jpeg_(), np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None and shown.shape == (48, 130, 3)
    assert repr(Result("sofa", image, Coarse())) == "Result('sofa', 48x65 pixels)"
