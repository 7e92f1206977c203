"""CMU-MOSI: what is said in a film review, and how it sounds; how positive is it?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from plait.datasets.base import File, Loaded, modality
from plait.datasets.opinions import Opinions, targets


class Mosi(Opinions):
    """CMU-MOSI: text and 73 sound features of an utterance; sentiment in 2, 3 or 7 classes, or from -3 to 3.

    Inputs: text = the transcript; audio = 73 ready-made COVAREP features (a vector; no video features are in the file).
    Targets: ``binary`` (positive or negative; the 96 neutral utterances are dropped, the usual "non-zero" protocol),
    ``three`` (negative, neutral at exactly 0, positive: Task-specific pre-trained encoders, section 4.3), ``seven`` (rounded
    to -3 .. 3, halves away from zero), ``score`` (the mean of the annotators). ``split`` is the official one, in which no
    video is on two sides; ``groups`` (the video) keeps it so in any other. Sound alone carries next to no signal in linear
    probes: do not expect a gain.
    """

    title = "CMU-MOSI"
    url = "http://multicomp.cs.cmu.edu/resources/cmu-mosi-dataset/"
    citation = (
        "Zadeh et al. 2016, MOSI: Multimodal Corpus of Sentiment Intensity and Subjectivity Analysis, arXiv:1606.06259"
    )
    files = (
        File("mosi/mosi_text_labels.csv", "bf5582ee654358156eab7b05cfae17f368beb23578be06a548dfebd351349e5f", 225_398),
        File("mosi/mosi_audio73.npz", "e9073cc0d803e4ded057f326693fe19a1338d408a31db62fe4a3106d128def0a", 553_571),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        frame = pd.read_csv(self.file(root, "mosi", "mosi_text_labels.csv"))
        with np.load(self.file(root, "mosi", "mosi_audio73.npz"), allow_pickle=False) as archive:
            frame["audio"] = list(archive["audio"])
        frame["score"] = frame.pop("label")
        frame = frame.assign(**targets(frame["score"]))
        frame["split"] = frame["split"].replace({"dev": "valid"})
        reasons = dict.fromkeys(self.tasks, "the same label in another form")
        reasons |= {"id": "identifier", "video": "identifier", "seg": "place in the video"}
        modalities = [modality("text"), modality("audio", kind="vector")]
        return self.loaded(frame, modalities, reasons, split="split", groups="video")
