"""Payments to physicians: company, device, drug and specialty; was the payment allowed?"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from plait.datasets.base import Dataset, File, Loaded, modality

#: The inputs, by the names that the records have.
COLUMNS = (
    "Applicable_Manufacturer_or_Applicable_GPO_Making_Payment_Name",
    "Dispute_Status_for_Publication",
    "Name_of_Associated_Covered_Device_or_Medical_Supply1",
    "Name_of_Associated_Covered_Drug_or_Biological1",
    "Physician_Specialty",
)


class Payments(Dataset):
    """Open Payments: a table of names in many spellings; payments of companies to physicians, allowed or disallowed.

    10,000 of the 73,558 rows of the table that Cerda and Varoquaux made of the US government's records: results are no numbers
    on the whole. 93 % are disallowed, so accuracy says little: look at AUC.

    Inputs: company (970 names), whether the payment is disputed, device (1,643 names, 58 % empty), drug (1,104, 49 % empty),
    specialty (358 paths such as ``Physicians|Internal Medicine|Hematology``). All are categories; each has many rare levels.
    """

    title = "Open Payments (10,000 rows)"
    url = "https://openpaymentsdata.cms.gov"
    licence = "public domain"
    citation = (
        "Centers for Medicare and Medicaid Services, Open Payments; Cerda and Varoquaux 2020, Encoding High-Cardinality "
        "String Categorical Variables, arXiv:1907.01860"
    )
    tasks = {"status": "classification"}
    metrics = {"status": "auc_macro"}
    files = (
        File("payments/payments.csv.gz", "6667a3cd30a8202cc7a474ce5b3b7e33707d269b7757fd4b48c9d2f19b21719f", 168_278),
    )

    def load(self, root: str | Path | None = None) -> Loaded:
        frame = pd.read_csv(self.file(root, "payments", "payments.csv.gz"))
        return self.loaded(frame, [modality("tabular", *COLUMNS)], types=dict.fromkeys(COLUMNS, "category"))
