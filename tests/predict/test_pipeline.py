import functools
import threading
import weakref

import numpy as np

from psp_jax.batch import Prediction
from psp_jax.predict import outputs, results
from psp_jax.predict.frames import Film, Frame, FrameSequence
from psp_jax.predict.pipeline import Pipeline
from psp_jax.predict.plan import Plan

FRAMES = 40


class Images:
    """Counts the images that are in memory."""

    def __init__(self):
        self.alive, self.most, self.total, self._lock = 0, 0, 0, threading.RLock()

    def read(self, size):
        image = np.full((*size, 3), self.total, np.uint8)
        weakref.finalize(image, self._forget)
        with self._lock:
            self.alive, self.total = self.alive + 1, self.total + 1
            self.most = max(self.most, self.alive)
        return image

    def _forget(self):
        with self._lock:
            self.alive -= 1


class OneRegion:
    """Predicts depth of 1 m and a single region."""

    def prepare(self, image):
        return np.ascontiguousarray(image[::2, ::2])

    def run(self, prepared, *, pad_to):
        return [Prediction(depth=np.ones(each.shape[:2], np.float32)) for each in prepared]

    def decode(self, prediction, image, *, name, source):
        regions = np.zeros(prediction.depth.shape, np.int32)
        coarse = results.Coarse(depth_m=prediction.depth, regions=regions)
        return results.Result(name, image, coarse, source=source)


def video(images, number):
    """Returns a film of `FRAMES` frames; films of odd and even numbers differ in size."""
    film = Frame(f"film{number}", f"/films/{number}.avi", number)
    size = (32, 48) if number % 2 else (48, 32)

    def frames(wanted):
        for index in range(FRAMES):
            frame = Frame(f"{film.name}/{index:06d}", film.path, film.changed_ns, index)
            if wanted(frame):
                yield frame, functools.partial(images.read, size)

    return FrameSequence(FRAMES, frozenset(), frames, Film(film, 25.0))


def test_several_films_need_the_memory_of_a_few_frames(tmp_path):
    images, plan = Images(), Plan(outputs=(), film_pictures=("overlay", "depth_color"))
    folder = outputs.Folder(tmp_path, {})
    batch_size, workers = 2, 2
    pipeline = Pipeline(OneRegion(), folder, plan, batch_size, workers)  # pyright: ignore
    summary = pipeline.run([video(images, number) for number in range(4)])
    assert len(summary.predicted) == images.total == 4 * FRAMES and not summary.failed
    assert len(list(tmp_path.glob("*/film*.mp4"))) == 8
    # Two queues of a batch and the workers, and the batch between them.
    assert images.most <= 2 * (batch_size + workers + 2) + 2 * batch_size
    assert images.alive <= 1
