"""CMU-MOSI as published: words, sound and face of an utterance, step by step; how positive is it?"""

from __future__ import annotations

from plait.datasets.base import File
from plait.datasets.opinions import Sequenced


class CMUMosi(Sequenced):
    """CMU-MOSI: 2,199 utterances of 93 speakers; the transcript, and sequences of sound and face features.

    Published layout: ``cmu_mosi/`` with the four ``.csd`` files of the CMU Multimodal SDK (opinion labels, timestamped words,
    COVAREP, Facet 4.1) and ``folds.json`` ({train, valid, test: videos}, the standard folds of the SDK). A smaller
    rendering without faces is the data set ``mosi``.

    Inputs: text = the words within the utterance; audio and video = its steps (T, D), at most 256, for a recurrent encoder.
    Targets: ``binary`` (neutral left out), ``three`` (neutral at exactly 0), ``seven``, ``score`` (-3 to 3).
    No video is on two sides.
    """

    title = "CMU-MOSI"
    url = "http://multicomp.cs.cmu.edu/resources/cmu-mosi-dataset/"
    citation = (
        "Zadeh et al. 2016, MOSI: Multimodal Corpus of Sentiment Intensity and Subjectivity Analysis, arXiv:1606.06259"
    )
    rows = 2199
    sequences = {
        "labels": "CMU_MOSI_Opinion_Labels.csd",
        "words": "CMU_MOSI_TimestampedWords.csd",
        "audio": "CMU_MOSI_COVAREP.csd",
        "video": "CMU_MOSI_Visual_Facet_41.csd",
    }
    files = tuple(File(f"cmu_mosi/{file}") for file in (*sequences.values(), "folds.json"))
