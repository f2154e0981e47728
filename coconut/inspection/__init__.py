"""Recordings before they are fitted: what each is like, what a fit would use, and how near it is likely to come.

`clips.hear` reads as a fit does, and measures each recording. `voices.prospect` ranks the stock voices, hears where a
fit begins, and foretells its score. The cheap part is of any job: `kinship.warnings` tells of copies and of strangers
among the speakers, and `faults.Faults` of what is bad of the recordings, on which a forecast depends.
"""
