"""CMU-MOSEI as published: words, sound and face of a sentence, step by step; how positive is it?"""

from __future__ import annotations

from plait.datasets.base import File
from plait.datasets.opinions import Sequenced


class CMUMosei(Sequenced):
    """CMU-MOSEI: 22,856 sentences of 1,000 speakers; the transcript, and sequences of sound and face features.

    Published layout: ``cmu_mosei/`` with the four ``.csd`` files of the CMU Multimodal SDK (labels, timestamped words,
    COVAREP, Facet 4.2) and ``folds.json`` ({train, valid, test: videos}, the standard folds of the SDK).
    16,326 / 1,871 / 4,659 sentences.

    Inputs: text = the words within the utterance; audio and video = its steps (T, D), at most 256, for a recurrent encoder.
    Targets: ``binary`` (neutral left out), ``three`` (neutral at exactly 0), ``seven``, ``score`` (-3 to 3).
    No video is on two sides.
    """

    title = "CMU-MOSEI"
    url = "http://multicomp.cs.cmu.edu/resources/cmu-mosei-dataset/"
    citation = (
        "Zadeh et al. 2018, Multimodal Language Analysis in the Wild: CMU-MOSEI Dataset and Interpretable Dynamic Fusion "
        "Graph, ACL, P18-1208"
    )
    rows = 22_856
    sequences = {
        "labels": "CMU_MOSEI_Labels.csd",
        "words": "CMU_MOSEI_TimestampedWords.csd",
        "audio": "CMU_MOSEI_COVAREP.csd",
        "video": "CMU_MOSEI_VisualFacet42.csd",
    }
    files = tuple(File(f"cmu_mosei/{file}") for file in (*sequences.values(), "folds.json"))
