"""Chooses the files that are written."""

import dataclasses

from psp_jax.predict import results, viewer
from psp_jax.predict.frames import Film, Frame


@dataclasses.dataclass(frozen=True)
class Plan:
    """The files that are written.

    Attributes:
        outputs: of every image, names of `results.OUTPUTS`.
        frame_outputs: of every frame of a film, of the same names.
        film_pictures: of every film as a whole, names of `results.PICTURES`.
        with_page: whether to make the files of the page, too.
        with_bar: whether pictures of depth have a colour bar.
        fov_deg: horizontal field of view of the camera, for point clouds; None if not known.
    """

    outputs: tuple[str, ...]
    frame_outputs: tuple[str, ...] = ()
    film_pictures: tuple[str, ...] = ()
    with_page: bool = False
    with_bar: bool = False
    fov_deg: float | None = None

    def files_of(self, frame: Frame, film: Film | None) -> list[str]:
        """Returns the paths of the files of a frame."""
        outputs = self.frame_outputs if film else self.outputs
        paths = [results.path_of(output, frame.name) for output in outputs]
        return [*paths, *viewer.files_of(frame.name)] if self.with_page else paths

    def films_of(self, film: Film) -> dict[str, str]:
        """Returns the paths of a film's pictures by their names."""
        return {kind: f"{kind}/{film.frame.name}.mp4" for kind in self.film_pictures}
