from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotus2_ros.geometry.scale.two_by_two import inverse, least_eigenvalue

numbers = st.floats(-3.0, 3.0)


@given(numbers, numbers, numbers, st.floats(0.01, 1.0))
def test_they_are_what_numpy_says(x, y, z, ridge):
    root = np.array([[x, y], [y, z]])
    matrix = root @ root + ridge * np.eye(2)
    np.testing.assert_allclose(inverse(matrix) @ matrix, np.eye(2), atol=1e-9)
    assert least_eigenvalue(matrix) == pytest.approx(np.linalg.eigvalsh(matrix)[0], abs=1e-9)
    assert least_eigenvalue(root) == pytest.approx(np.linalg.eigvalsh(root)[0], abs=1e-9)


def test_a_singular_matrix_has_no_finite_inverse():
    assert not np.isfinite(inverse(np.ones((2, 2)))).any()
    assert least_eigenvalue(np.ones((2, 2))) == pytest.approx(0.0)
