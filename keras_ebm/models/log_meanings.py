"""What the logs of a training say, for whoever reads its curves."""

from keras_ebm.models.reporting import direction

#: What a log is, and what of its course is a sign, by name. `val_` before a name is the
#: same of validation rows.
MEANINGS = {
    "loss": (
        "All that the network minimises, over a batch.",
        "Falling; of the contrastive objective it stays near 0, and says little.",
    ),
    "data_energy": (
        "Mean energy of training rows, nats.",
        "Only its distance to `negative_energy` counts, not its level.",
    ),
    "negative_energy": (
        "Mean energy of negatives, nats.",
        "A little above `data_energy`. Far above: negatives are too easy. Below for "
        "long: they get away from the network, and the run is about to diverge.",
    ),
    "accuracy": (
        "Share of labelled rows whose class is right.",
        "Training far above validation: too many passes, or too few labels.",
    ),
    "cross_entropy": (
        "Negative log-probability of the labels, nats.",
        "Rising on validation rows while accuracy stays: it grows too sure.",
    ),
    "conditional_entropy": (
        "How unsure it is of the class of a row without a label, nats.",
        "Near 0 early: it has made up its mind too soon.",
    ),
    "gradient_penalty": (
        "Squared slope of the energy at training rows.",
        "Growing without end: the energy gets steep, lower the learning rate.",
    ),
    "energy_l2": (
        "Mean squared energy of data and negatives, which is kept small.",
        "Growing: raise its weight.",
    ),
    "generator_loss": (
        "What the generator minimises: energy of its samples less their entropy.",
        "No measure of quality, as the energy moves too.",
    ),
    "generator_stddev": (
        "Standard deviation of the noise on samples.",
        "At its lower bound: samples are as sharp as they may be.",
    ),
    "posterior_loss": (
        "What an estimate of the entropy learns by.",
        "Falling, then flat.",
    ),
    "effective_sample_size": (
        "How many of the proposals the importance weights rest on.",
        "Near 1: the entropy's gradient is mostly noise; take another `--entropy`.",
    ),
    "posterior_width": (
        "Width of the proposals about a sample's latent.",
        "Steady once the generator is.",
    ),
    "mutual_information": (
        "A lower bound on what samples tell of their latent, nats.",
        "Falling towards 0: samples become alike.",
    ),
    "chain_acceptance": (
        "Share of accepted proposals of Hamiltonian chains.",
        "Steady near its target, which the step size follows.",
    ),
    "chain_step_size": ("Step size of Hamiltonian chains.", "Steady; 0 is stuck."),
    "mala_acceptance": (
        "Share of accepted Metropolis steps.",
        "Steady near its target, which the step size follows.",
    ),
    "mala_step_size": ("Step size of Metropolis chains.", "Steady; 0 is stuck."),
    "jump_acceptance": (
        "Share of accepted jumps between places.",
        "Above 0 where modes are apart.",
    ),
    "chain_gradient": (
        "Length of the slope of the energy where chains walk.",
        "Growing without end: the energy diverges.",
    ),
    "chain_movement": (
        "How far a step moves a chain, its noise included.",
        "Near 0: chains stand still, and their ends are where they began.",
    ),
    "chain_energy": (
        "Energy at the ends of chains under a held network, nats.",
        "Falling as chains find what the network likes.",
    ),
    "neighbour_distance": (
        "Distance of the ends of chains to the nearest of others.",
        "Falling: chains gather in few places.",
    ),
    "negatives_effective_share": (
        "Share of the generator's samples that the weights rest on.",
        "Near 0: a few samples stand for all.",
    ),
    "tempering": (
        "Power that the weights of samples were flattened by.",
        "1: not at all; well below: the generator is far from the energy.",
    ),
    "pseudo_labelled": (
        "Share of unlabelled rows that get a pseudo-label.",
        "Rising; at 1 early: it believes itself too soon.",
    ),
    "virtual_adversarial": (
        "How much answers change for the worst small change of a row.",
        "Falling.",
    ),
    "learning_rate": ("Of the network's optimizer.", "As its schedule says."),
    "doctor": (
        "Number of the state that the doctor found; 0 is healthy.",
        "Anything else: doctor.json says what and what to change.",
    ),
}
_ARROWS = {"up": "higher", "down": "lower", None: ""}


def guide(names: list[str] | None = None) -> str:
    """A page in Markdown on how to read the curves of a run.

    Args:
        names: of the logs that the run has; None: all that there are.
    """
    known = MEANINGS if names is None else {n.removeprefix("val_") for n in names}
    rows = [
        f"| `{name}` | {_ARROWS[direction(name)]} | {what} | {sign} |"
        for name, (what, sign) in MEANINGS.items()
        if name in known
    ]
    return "\n".join(
        [
            "An energy is low for what is likely: training lowers it at data and "
            "raises it at negatives, so the two stay close while a run is healthy, "
            "and neither alone says how good it is. Judge a classifier by "
            "`val_accuracy`, and a density by its samples, by foreign rows, or by a "
            "bound on its likelihood.",
            "",
            "| log | better | what it is | what to look for |",
            "|---|---|---|---|",
            *rows,
        ]
    )
