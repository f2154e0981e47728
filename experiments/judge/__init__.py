"""Training and examination of the judge, the speaker encoder that no loss term uses: `experiments/judge/README.md`."""
