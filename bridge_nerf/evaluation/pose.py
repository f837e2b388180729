"""Does an object turn as the world's toy does, and does it look like it from each side?

R-precision cannot tell: a duck that is back to front, mirrored or the same from all sides is a duck. So a
probe reads the camera's azimuth off an image. It is fitted to the world's own renders of the toy, and what it
says of a scene counts beside what it says of the world's own renders of other seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from bridge_nerf.evaluation.world import Posed
from bridge_nerf.toybox.judge import Judge

RIDGE = 0.1
"""Weight of the penalty in the probe's fit, for a kernel whose diagonal is about 1."""
TOLERANCE = 45.0
"""Degrees by which an estimated azimuth or an orientation may be off and count as right: a quarter of all."""
NEIGHBOURS = 15.0
"""Degrees of azimuth within which a render shows the same side."""
FRONT = 0.65
"""The world's own view accuracy from which on a toy has a front. Round ones measure less than 0.5, the others
from 0.76 on (a rocket), each give or take 0.04."""
TURNING = 0.5
"""Least `turning` of an object of which it can be said where its front is."""


@dataclass(frozen=True, eq=False)
class PoseProbe:
    """A linear map from standardised features to (cos, sin) of the camera's azimuth."""

    mean: Float[Tensor, "d"]
    deviation: Float[Tensor, "d"]
    weights: Float[Tensor, "d 2"]

    @classmethod
    def fit(cls, features: Float[Tensor, "n d"], azimuths: Float[Tensor, "n"]) -> PoseProbe:
        """The ridge regression on images whose azimuths (degrees) are known, in its dual form.

        With standardised features f (n x d) and K = f f^T / d, the weights are f^T (K + 0.1)^-1 y / d
        (Saunders et al. 1998): a system of n equations, as there are fewer images than features.
        """
        mean = features.mean(0)
        # A feature that hardly varies would be blown up into noise.
        deviation = features.std(0) + 1e-3 * features.std()
        f = (features - mean) / deviation
        angles = torch.deg2rad(azimuths)
        known = torch.stack([angles.cos(), angles.sin()], 1)
        kernel = f @ f.T / f.shape[1]
        dual = torch.linalg.solve(kernel + RIDGE * torch.eye(len(f)), known)
        return cls(mean, deviation, f.T @ dual / f.shape[1])

    def azimuths(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """The estimated azimuths, degrees in [-180, 180]."""
        cosine, sine = ((features - self.mean) / self.deviation @ self.weights).unbind(1)
        return torch.rad2deg(torch.atan2(sine, cosine))


@dataclass(frozen=True)
class PoseFigures:
    """How an object seen from all sides compares with the world's toy."""

    view_accuracy: float
    """Share of views whose estimated azimuth is within 45 degrees of the camera's; a guess has 0.25."""
    orientation: float
    """Degrees, in (-180, 180], by which the object stands turned: the angle of the mean of
    exp(i (estimate - camera)). Positive where cameras see what they should see from a larger azimuth."""
    turning: float
    """Length of that mean, in [0, 1]: 1 where the estimate follows the camera, whatever the orientation, and
    about 0 where it stays the same, goes the other way round as for a mirrored object, or wanders."""
    distance_ratio: float
    """Feature distance ratio: the mean distance of a view's features to those of the nearest of the world's
    renders of the same side, divided by what it is for renders of other seeds. 1 is as near as the world."""

    @property
    def orientation_right(self) -> bool:
        """True for an object that turns, and whose front is where it belongs, within 45 degrees."""
        return abs(self.orientation) <= TOLERANCE and self.turning >= TURNING


@dataclass(frozen=True, eq=False)
class PoseReference:
    """What the world's own renders of a toy say, by which an object is measured."""

    probe: PoseProbe
    features: Float[Tensor, "n d"]
    """Spatial features of the renders that the probe was fitted to."""
    azimuths: Float[Tensor, "n"]
    """Their azimuths, degrees."""
    view_accuracy: float
    """View accuracy of renders of other seeds: no object can be expected to have more."""
    distance: float
    """Mean distance of the features of renders of other seeds to the nearest of the same side."""

    @classmethod
    def fit(cls, judge: Judge, fitted: Posed, held_out: Posed) -> PoseReference:
        """Fit the probe to the first renders and measure it on the others, which have other seeds."""
        known, new = (spatial_features(judge, renders.images) for renders in (fitted, held_out))
        probe = PoseProbe.fit(known, fitted.azimuths)
        accuracy = view_accuracy(probe.azimuths(new), held_out.azimuths)
        sides = (held_out.azimuths, fitted.azimuths) if accuracy >= FRONT else None
        return cls(probe, known, fitted.azimuths, accuracy, nearest_distance(new, known, sides))

    @property
    def has_front(self) -> bool:
        """True where the world's own toy shows from which side it is seen. A round one does not, and only the
        distance ratio of its figures means anything."""
        return self.view_accuracy >= FRONT

    def figures(self, features: Float[Tensor, "m d"], azimuths: Float[Tensor, "m"]) -> PoseFigures:
        """The figures of an object.

        Args:
            features: `spatial_features` of its views.
            azimuths: Those of their cameras, degrees.
        """
        estimates = self.probe.azimuths(features)
        orientation, turning = mean_turn(estimates, azimuths)
        sides = (azimuths, self.azimuths) if self.has_front else None
        ratio = nearest_distance(features, self.features, sides) / self.distance
        return PoseFigures(view_accuracy(estimates, azimuths), orientation, turning, ratio)


def nearest_distance(
    features: Float[Tensor, "m d"],
    known: Float[Tensor, "n d"],
    sides: tuple[Float[Tensor, "m"], Float[Tensor, "n"]] | None = None,
) -> float:
    """Mean distance of features to the nearest known ones.

    Args:
        sides: Azimuths (degrees) of both; only what is known within 15 degrees of azimuth then counts or,
            where there is none, the nearest in azimuth. None compares with all that is known.
    """
    distances = torch.cdist(features, known)
    if sides is not None:
        apart = angle_between(sides[0][:, None], sides[1][None]).abs()
        same = (apart <= NEIGHBOURS) | (apart == apart.min(1, keepdim=True).values)
        distances = distances.where(same, torch.inf)
    return distances.min(1).values.mean().item()


def spatial_features(
    judge: Judge, images: Float[Tensor, "n 3 h w"], batch: int = 256
) -> Float[Tensor, "n d"]:
    """The judge's features on its grid of 4 x 4 places, in one row an image; images are RGB in [0, 1]."""
    parts = [judge.spatial_features(images[k : k + batch]) for k in range(0, len(images), batch)]
    return torch.cat(parts).flatten(1)


def angle_between(one: Float[Tensor, "*#s"], other: Float[Tensor, "*#s"]) -> Float[Tensor, "*s"]:
    """one - other for angles in degrees, in [-180, 180)."""
    return (one - other + 180) % 360 - 180


def view_accuracy(estimates: Float[Tensor, "n"], azimuths: Float[Tensor, "n"]) -> float:
    """Share of estimates within 45 degrees of the truth."""
    return (angle_between(estimates, azimuths).abs() <= TOLERANCE).double().mean().item()


def mean_turn(estimates: Float[Tensor, "n"], azimuths: Float[Tensor, "n"]) -> tuple[float, float]:
    """(angle in degrees, length in [0, 1]) of the mean of exp(i (estimate - azimuth)): the mean direction and
    resultant length of directional statistics (Mardia and Jupp 2000, section 2.2).
    """
    off = torch.deg2rad(estimates - azimuths).double()
    cosine, sine = off.cos().mean(), off.sin().mean()
    return torch.rad2deg(torch.atan2(sine, cosine)).item(), torch.hypot(cosine, sine).item()
