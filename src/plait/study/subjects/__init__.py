"""What studies compare, one file each: ``plait.study.subject`` says what they have in common."""
