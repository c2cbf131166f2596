"""Layout ablations: networks that differ in one thing, held equal in another, beside what was published."""

from hvnas.studies.ablation.run import run_study
from hvnas.studies.ablation.study import Part, Study, Variant, list_studies, load_study

__all__ = ["Part", "Study", "Variant", "list_studies", "load_study", "run_study"]
