"""What is taken from scikit-learn, or stands in for it where it cannot be had."""

from keras_ebm.arguments import why_not_imported

#: The first with `validate_data`; the bound in setup.py.
LOWEST = "1.6"

try:
    from sklearn.base import (
        BaseEstimator,
        ClassifierMixin,
        OneToOneFeatureMixin,
        OutlierMixin,
        TransformerMixin,
    )
    from sklearn.utils import check_consistent_length, check_random_state
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    _reason = why_not_imported("sklearn", error, LOWEST)

    class _NeedsScikitLearn:
        """Says what to install as soon as an estimator is made."""

        def __new__(cls, *args, **kwargs):
            raise ImportError(
                f"{cls.__name__} needs scikit-learn, which {_reason}. "
                'Run `pip install "keras_ebm[data]"`.'
            )

    class _Nothing:
        """What a mixin is without scikit-learn."""

    class _Features:
        """Another, as a class may not name one base twice."""

    class _Transforms:
        """And another."""

    BaseEstimator, ClassifierMixin, OutlierMixin = _NeedsScikitLearn, _Nothing, _Nothing
    OneToOneFeatureMixin, TransformerMixin = _Features, _Transforms
    check_random_state = column_or_1d = None
    check_consistent_length = check_is_fitted = validate_data = None

__all__ = [
    "BaseEstimator",
    "ClassifierMixin",
    "OneToOneFeatureMixin",
    "OutlierMixin",
    "TransformerMixin",
    "check_consistent_length",
    "check_is_fitted",
    "check_random_state",
    "column_or_1d",
    "validate_data",
]
