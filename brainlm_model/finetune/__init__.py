"""Fine-tuning: a trained model learns a column of the cohort's table, or the next steps (docs/finetune.md)."""
