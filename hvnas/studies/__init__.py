"""Studies: the papers' models verified, their layouts found again, estimates held against measurements."""
