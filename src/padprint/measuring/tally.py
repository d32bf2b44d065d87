"""The pass of `measure` and `compare`: sums over all crops, of this process and then of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

from padprint.images.source import fingerprint, nothing_decoded
from padprint.measuring.checked import Traced
from padprint.measuring.options import Paddings
from padprint.measuring.outcome import Counts, measurement
from padprint.measuring.session import Opened, Scene, Session, Setup
from padprint.measuring.sums import NetworkSums
from padprint.results.measurement import Measurement
from padprint.support.axes import Size
from padprint.support.processes import everyone, same_images
from padprint.support.reasons import Reason


class Tally:
    """NetworkSums over all crops of a pass: the share of this process, then that of all.

    Args:
        setup: what was asked for.
        paddings: what crops are padded with.
    """

    def __init__(self, setup: Setup, paddings: Paddings) -> None:
        self.setup, self.settings, self.paddings = setup, setup.settings, paddings
        self.first: int | None = None
        self.session: Session | None = None
        self.sums: list[NetworkSums] = []
        self.n_images = 0
        self.small: list[Size] = []
        self.seen: list[str] = []

    def over(self, opened: Opened) -> None:
        """Measure the scenes of this process.

        The first of them is also used, by every process, to trace the models and to check them.

        Raises:
            ImagesError, LayerError, ModelError: see `padprint.measure`.
        """
        for scene in opened:
            if self.session is None:
                self.first = scene.index
                traced = opened.traced(self.paddings, scene)
                self.session = Session(self.setup, traced, scene)
                for network in self.session.networks:
                    network.refuse_nothing_left()
                self.sums = [NetworkSums(one, self.session.plan, self.settings.groups) for one in traced]
            self._add(self.session, scene)
        if self.small:
            assert self.session is not None  # noqa: S101  # there was a scene
            raise self.session.plan.too_small(self.small, self.n_images + len(self.small))
        if self.session is not None:
            self.session.finish()

    def _add(self, session: Session, scene: Scene) -> None:
        """Measure one image; one that is too small is only counted."""
        canvases = session.plan.canvases(scene.size, scene.index)
        if not canvases:
            self.small.append(scene.size)
        if self.small:  # the others are only counted, for one error that says how many
            return
        order = self._order(session, scene.index)
        for network, sums in zip(session.networks, self.sums, strict=True):
            sums.add(network, scene.image, scene.index, canvases, session.settings.batch_size, order)
            network.count_image(scene.called)
        self.n_images += 1
        self.seen.append(fingerprint(scene.image))

    def _order(self, session: Session, index: int) -> range:
        """Numbers of an image's crops among all crops: the first crop of every image, then the second of every image.

        Where it is not known how many images there are, image by image.
        """
        crops, length = session.plan.crops, self.setup.source.length
        if length is None:
            return range(index * crops, (index + 1) * crops)
        return range(index, crops * length, length)

    def results(self, opened: Opened, records: Sequence[dict[str, Any]], distributed: bool) -> list[list[Measurement]]:
        """Everything measured, by all processes: for each network, one measurement for each of its paddings.

        Args:
            opened: the networks on their devices.
            records: for each, what provenance says of it.
            distributed: whether there are other processes.

        Raises:
            ImagesError: no image was measured.
        """
        source = self.setup.source
        reports = everyone(self._report(distributed), distributed)
        same_images([one["fingerprint"] for one in reports], [one["source"] for one in reports])
        leader = min(reports, key=lambda one: one["first"])
        skipped = {name: reason for one in reports for name, reason in one["skipped"].items()}
        counts = Counts(
            source.description,
            sum(one["images"] for one in reports),
            dict(sorted(skipped.items())),
            sum(one["upsampled"] for one in reports),
            sum(one["images"] for one in reports) - len({seen for one in reports for seen in one["seen"]}),
            leader["record"],
        )
        if not counts.images:
            raise nothing_decoded(source, skipped)
        if distributed:
            self._join(opened, leader, reports)
        refused: list[dict[str, Reason]] = [
            {
                name: reason
                for one in reports[::-1]
                if one["networks"]
                for name, reason in one["networks"][i]["refused"].items()
            }
            for i in range(len(self.sums))
        ]
        return [
            [
                measurement(
                    sums, padding, leader["networks"][i]["floor"], refused[i], self.settings, counts, records[i]
                )
                for padding in sums.traced.paddings
            ]
            for i, sums in enumerate(self.sums)
        ]

    def _report(self, distributed: bool) -> dict[str, Any]:
        """What other processes need of this one's: counts, geometry and checks."""
        source, session = self.setup.source, self.session
        return {
            "images": self.n_images,
            "source": source.description,
            "fingerprint": source.fingerprint() if distributed else "",
            "skipped": dict(source.skipped),
            "record": source.record,
            "upsampled": source.upsampled,
            "seen": self.seen,
            "first": inf if self.first is None else self.first,
            "plan": None if session is None else session.plan,
            "networks": [
                {"geometry": one.geometry, "floor": one.floor, "moved": sums.moved, "refused": one.refused}
                for one, sums in zip(() if session is None else session.networks, self.sums, strict=True)
            ],
        }

    def _join(self, opened: Opened, leader: Mapping[str, Any], reports: Sequence[Mapping[str, Any]]) -> None:
        """Take geometry from the process that had the first image, and add up the sums of all."""
        if not self.sums:  # this process had no image
            self.sums = [
                NetworkSums(Traced(model, own["geometry"], self.paddings, *place), leader["plan"], self.settings.groups)
                for model, place, own in zip(self.setup.models.values(), opened.places, leader["networks"], strict=True)
            ]
        for i, sums in enumerate(self.sums):
            sums.join([one["networks"][i]["moved"] for one in reports if one["networks"]])
