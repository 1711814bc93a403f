"""The program that bounds the likelihood of a run's test rows."""

import json
import math


def test_bounds_of_an_image_energy_are_measured_and_written(
    run, digits_model, tmp_path
):
    output = tmp_path / "bounds.json"
    flags = ("--chains=8", "--steps=20", "--burn_in=5", "--rows=50")
    code, out, err = run(
        "trainers.bounds", f"--model={digits_model}", *flags, f"--output={output}"
    )
    assert code == 0, err
    found = json.loads(output.read_text())
    assert all(math.isfinite(value) for value in found.values())
    assert found["log_likelihood_lower"] == found["log_likelihood_upper"] - (
        found["log_z_upper"] - found["log_z_lower"]
    ) or math.isclose(
        found["log_likelihood_upper"] - found["log_likelihood_lower"],
        found["log_z_upper"] - found["log_z_lower"],
        rel_tol=1e-6,
    )
    bits = found["bits_per_dim_upper"] - found["bits_per_dim_lower"]
    nats = found["log_likelihood_upper"] - found["log_likelihood_lower"]
    assert math.isclose(bits, nats / 64 / math.log(2.0), rel_tol=1e-6, abs_tol=1e-9)
    assert "log_z_lower" in out and found["rows"] == 50


def test_exact_starts_need_a_normalised_network(run, digits_model):
    code, _, err = run(
        "trainers.bounds", f"--model={digits_model}", "--starts=exact", "--chains=4"
    )
    assert code == 2 and "use starts=chains" in err and err.count("\n") == 1
