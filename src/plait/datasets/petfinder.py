"""PetFinder: adverts of cats and dogs, text and table; how soon is a pet adopted?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from plait.datasets.base import Dataset, File, Loaded, modality

#: Type of every tabular input; the codes are those of the competition (1 yes, 2 no, 3 not sure; 1 dog, 2 cat; ...).
_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("Age", "MaturitySize", "FurLength", "Quantity", "Fee", "VideoAmt", "PhotoAmt"), "number"),
    **dict.fromkeys(("Type", "Breed1", "Breed2", "Gender", "Color1", "Color2", "Color3", "State"), "category"),
    **dict.fromkeys(("Vaccinated", "Dewormed", "Sterilized", "Health"), "category"),
}


class Petfinder(Dataset):
    """PetFinder.my: text and table of an advert; how soon the pet is adopted, in five steps or as a number.

    3,000 of the 14,993 adverts of the competition's training part, without pictures: results are no numbers on the whole.

    Inputs: text = name and description; tabular = animal, breed, age, colours, health, fee, state, counts of pictures and
    videos. Targets: ``AdoptionSpeed`` (0 same day, 1 within a week, 2 a month, 3 three months, 4 not in 100 days) and
    ``speed``, the same as a number. Left out: ``RescuerID``. ``groups`` (the rescuer) keeps adverts of one writer together: 392
    rescuers of 1,775 wrote more than one, one of them 84.
    """

    title = "PetFinder (3,000 adverts)"
    url = "https://www.kaggle.com/competitions/petfinder-adoption-prediction"
    licence = "competition data; tests only"
    citation = "PetFinder.my 2018, PetFinder.my Adoption Prediction, Kaggle competition"
    tasks = {"AdoptionSpeed": "classification", "speed": "regression"}
    files = (
        File("petfinder/petfinder.csv", "e4778ede942841cf9171f8ac1714e750d2fef9db37a6cf525c9cab14eb29ac27", 1_319_162),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        frame = pd.read_csv(self.file(root, "petfinder", "petfinder.csv"))
        frame["speed"] = frame["AdoptionSpeed"].astype(float)
        reasons = dict.fromkeys(self.tasks, "the same answer in another form")
        reasons["RescuerID"] = "identifier: who wrote the advert"
        modalities = [modality("text", "Name", "Description"), modality("tabular", *_TYPES)]
        return self.loaded(frame, modalities, reasons, _TYPES, groups="RescuerID")
