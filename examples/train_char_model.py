#!/usr/bin/env python3
"""Train a small character-level language model with only the standard library.

The model is the neural probabilistic language model of Bengio et al. (2003),
with characters instead of words.  It sees the last few characters and predicts how
likely each character is to come next:

    x = [E[c1], E[c2], ..., E[cn]]        embeddings of the context, concatenated
    h = tanh(W1 x + b1)                   one hidden layer
    p = softmax(W2 h + b2)                a probability for each next character

It is trained on the cross-entropy loss by minibatch Adam, with hand-written
backpropagation.  It does what a larger trainer does, on a small scale: validation on
a held-out part of the text, gradient clipping, a learning-rate schedule, atomic
checkpoints, an exact resume, and an orderly stop on a signal.

It prints plain lines, as most trainers do, and does not use model-foundry.  To record
the run, start it under the program:

    model-foundry run -- python3 examples/train_char_model.py

Useful variations:

    --steps 200                   a shorter run
    --fail-at 120                 raise an error at step 120, to see it recorded
    --resume                      continue from the newest checkpoint
    --resume PATH                 ... from this checkpoint file, or folder of them

With the same Python, seed and options it prints the same losses, and a run that was
stopped and resumed ends with exactly the same model as an uninterrupted one.

References:
    Bengio et al. 2003, "A Neural Probabilistic Language Model"
    Glorot & Bengio 2010, "Understanding the difficulty of training deep
        feedforward neural networks" (the initial weights)
    Pascanu et al. 2013, "On the difficulty of training recurrent neural
        networks" (clipping the gradient by its norm)
    Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization"
    Loshchilov & Hutter 2017, "SGDR" (the cosine schedule)
"""

import argparse
import json
import math
import os
import random
import signal
import sys
import textwrap
import time
from operator import mul
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

Vector = List[float]
Matrix = List[Vector]
# The parameters by name.  A gradient, and each of Adam's moments, has the same shape.
Parameters = Dict[str, Matrix]

DATA_DIR = Path(__file__).resolve().parent / "data"

# The shape of the model.
CONTEXT = 5  # characters that the model sees
EMBEDDING = 10  # numbers in the embedding of each character
HIDDEN = 64  # units in the hidden layer

# How it is trained.
WARMUP_STEPS = 40
FINAL_LEARNING_RATE = 0.05  # at the end of the schedule, as a fraction of the peak
MAX_GRADIENT_NORM = 1.5
ADAM_BETA1, ADAM_BETA2, ADAM_EPSILON = 0.9, 0.99, 1e-8

# How it is validated and saved.
HELD_OUT_SHARE = 0.1
VALIDATION_SIZE = 400  # held-out characters that each validation predicts
VALIDATE_EVERY = 100
CHECKPOINT_EVERY = 200
RETAINED_CHECKPOINTS = 3

# Options that --resume takes from the checkpoint if the command line does not give them.
DEFAULTS = {"steps": 700, "batch_size": 32, "seed": 1, "learning_rate": 0.01}


# --- Text ----------------------------------------------------------------------------


class Corpus(NamedTuple):
    """The text as numbers: each character is its index in `alphabet`."""

    alphabet: str
    train: List[int]
    held_out: List[int]


class Batch(NamedTuple):
    """Contexts of CONTEXT characters, and the character that follows each."""

    contexts: List[List[int]]
    targets: List[int]


def load_corpus() -> Corpus:
    """Read every text in the data folder, and hold out the end for validation."""
    files = sorted(DATA_DIR.glob("*.txt"))
    if not files:
        raise FileNotFoundError(f"no .txt file in {DATA_DIR}")
    text = "\n\n".join(file.read_text(encoding="utf-8") for file in files)
    # A line break inside a paragraph only wraps the text: replace it with a space.
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    text = "\n".join(paragraphs)

    alphabet = "".join(sorted(set(text)))
    index = {character: i for i, character in enumerate(alphabet)}
    ids = [index[character] for character in text]
    split = int(len(ids) * (1 - HELD_OUT_SHARE))
    return Corpus(alphabet, ids[:split], ids[split:])


def batch_at(ids: Sequence[int], positions: Sequence[int]) -> Batch:
    """The examples whose targets are at `positions` in the text."""
    return Batch(
        contexts=[list(ids[position - CONTEXT : position]) for position in positions],
        targets=[ids[position] for position in positions],
    )


class TrainingBatches:
    """Minibatches drawn without replacement, in a new order in each epoch.

    A batch depends only on the seed and the step, not on the batches before it, so that
    a resumed run sees the same batches as an uninterrupted one.
    """

    def __init__(self, ids: Sequence[int], batch_size: int, seed: int) -> None:
        self.ids = ids
        self.batch_size = batch_size
        self.seed = seed
        self.per_epoch = (len(ids) - CONTEXT) // batch_size
        if self.per_epoch == 0:
            raise ValueError(f"the text is too short for --batch-size {batch_size}: use fewer")
        self.order: List[int] = []
        self.order_epoch = -1

    def epoch(self, step: int) -> int:
        return (step - 1) // self.per_epoch

    def at(self, step: int) -> Batch:
        if self.order_epoch != self.epoch(step):
            self.order_epoch = self.epoch(step)
            self.order = list(range(CONTEXT, len(self.ids)))
            random.Random(f"order {self.seed} {self.order_epoch}").shuffle(self.order)
        start = (step - 1) % self.per_epoch * self.batch_size
        return batch_at(self.ids, self.order[start : start + self.batch_size])


def validation_batch(held_out: Sequence[int]) -> Batch:
    """The same evenly spread examples each time, so that the losses are comparable."""
    available = len(held_out) - CONTEXT
    count = min(VALIDATION_SIZE, available)
    return batch_at(held_out, [CONTEXT + i * available // count for i in range(count)])


# --- Linear algebra ------------------------------------------------------------------


def transpose(a: Matrix) -> List[Tuple[float, ...]]:
    return list(zip(*a))


def times_transposed(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]]) -> Matrix:
    """A Bᵀ: the dot product of each row of A with each row of B.

    Nearly all of the time is spent here.  Every product that the model needs has this
    form, because `sum(map(mul, row, other))` is the fastest dot product in plain Python:
    its loop over the numbers runs in C.
    """
    return [[sum(map(mul, row, other)) for other in b] for row in a]


def affine(x: Matrix, weights: Matrix, bias: Vector) -> Matrix:
    """x Wᵀ + b, for a batch of rows x."""
    return [[product + b for product, b in zip(row, bias)] for row in times_transposed(x, weights)]


def column_sums(a: Matrix) -> Vector:
    return [sum(column) for column in zip(*a)]


# --- Model ---------------------------------------------------------------------------


class Activations(NamedTuple):
    """The results of the forward pass that the backward pass needs, a row per example."""

    inputs: Matrix
    hidden: Matrix
    probabilities: Matrix


def initial_parameters(characters: int, seed: int) -> Parameters:
    """Weights of variance 1/fan-in (after Glorot & Bengio 2010), and biases of zero.

    The output layer starts ten times smaller, so that the first guess is close to
    uniform and the first loss close to ln(characters).
    """
    rng = random.Random(f"parameters {seed}")

    def normal(rows: int, columns: int, scale: float) -> Matrix:
        return [[rng.gauss(0.0, scale) for _ in range(columns)] for _ in range(rows)]

    inputs = CONTEXT * EMBEDDING
    return {
        "embedding": normal(characters, EMBEDDING, 1.0),
        "hidden_weights": normal(HIDDEN, inputs, 1 / math.sqrt(inputs)),
        "hidden_bias": [[0.0] * HIDDEN],
        "output_weights": normal(characters, HIDDEN, 0.1 / math.sqrt(HIDDEN)),
        "output_bias": [[0.0] * characters],
    }


def zeros_like(parameters: Parameters) -> Parameters:
    return {name: [[0.0] * len(row) for row in rows] for name, rows in parameters.items()}


def parameter_count(parameters: Parameters) -> int:
    return sum(len(row) for rows in parameters.values() for row in rows)


def softmax(logits: Vector) -> Vector:
    """exp(z) / sum(exp(z)), shifted by the largest z so that nothing overflows."""
    largest = max(logits)
    powers = [math.exp(logit - largest) for logit in logits]
    total = sum(powers)
    return [power / total for power in powers]


def forward(parameters: Parameters, contexts: List[List[int]]) -> Activations:
    embedding = parameters["embedding"]
    inputs = [[v for character in context for v in embedding[character]] for context in contexts]
    before = affine(inputs, parameters["hidden_weights"], parameters["hidden_bias"][0])
    hidden = [[math.tanh(value) for value in row] for row in before]
    logits = affine(hidden, parameters["output_weights"], parameters["output_bias"][0])
    return Activations(inputs, hidden, [softmax(row) for row in logits])


def cross_entropy(probabilities: Matrix, targets: List[int]) -> float:
    """The mean of -ln p(target), in nats per character."""
    # The smallest float replaces a probability that has underflowed to zero.
    tiny = sys.float_info.min
    losses = [-math.log(max(row[target], tiny)) for row, target in zip(probabilities, targets)]
    return sum(losses) / len(losses)


def backward(parameters: Parameters, batch: Batch, activations: Activations) -> Parameters:
    """The gradient of the mean loss, by the chain rule from the output backwards."""
    inputs, hidden, probabilities = activations
    size = len(batch.targets)

    # Softmax and cross-entropy together: dL/dz = (p - onehot(target)) / size.
    d_logits = [[p / size for p in row] for row in probabilities]
    for row, target in zip(d_logits, batch.targets):
        row[target] -= 1 / size

    # Through z = h W2ᵀ + b2, and then tanh, whose derivative is 1 - tanh².
    d_hidden = times_transposed(d_logits, transpose(parameters["output_weights"]))
    d_before = [
        [d * (1 - h * h) for d, h in zip(d_row, h_row)] for d_row, h_row in zip(d_hidden, hidden)
    ]
    d_inputs = times_transposed(d_before, transpose(parameters["hidden_weights"]))

    return {
        "embedding": embedding_gradient(parameters["embedding"], batch.contexts, d_inputs),
        "hidden_weights": times_transposed(transpose(d_before), transpose(inputs)),
        "hidden_bias": [column_sums(d_before)],
        "output_weights": times_transposed(transpose(d_logits), transpose(hidden)),
        "output_bias": [column_sums(d_logits)],
    }


def embedding_gradient(embedding: Matrix, contexts: List[List[int]], d_inputs: Matrix) -> Matrix:
    """Add each slice of the input's gradient to the gradient of its character."""
    gradient = [[0.0] * EMBEDDING for _ in embedding]
    for context, d_row in zip(contexts, d_inputs):
        for place, character in enumerate(context):
            d_slice = d_row[place * EMBEDDING : (place + 1) * EMBEDDING]
            gradient[character] = [g + d for g, d in zip(gradient[character], d_slice)]
    return gradient


# --- Optimizer -----------------------------------------------------------------------


def learning_rate_at(step: int, steps: int, peak: float) -> float:
    """A linear warm-up to `peak`, then half a cosine period down to a fraction of it."""
    warmup = min(WARMUP_STEPS, max(1, steps // 4))
    if step <= warmup:
        return peak * step / warmup
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return peak * (FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * cosine)


def gradient_norm(gradient: Parameters) -> float:
    """The Euclidean norm of all gradients, as one long vector."""
    return math.sqrt(sum(sum(map(mul, row, row)) for rows in gradient.values() for row in rows))


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1), on a gradient clipped by its norm."""

    def __init__(self, first: Parameters, second: Parameters) -> None:
        self.first = first  # m, the running mean of the gradient
        self.second = second  # v, the running mean of its square

    def update(
        self, parameters: Parameters, gradient: Parameters, norm: float, step: int, rate: float
    ) -> None:
        """Make one step, in place.  `step` starts at 1."""
        # Pascanu et al. 2013: scale the gradient down if its norm is above the limit.
        clip = min(1.0, MAX_GRADIENT_NORM / (norm + 1e-12))
        # As at the end of the paper's section 2, the step size includes the corrections
        # of both moments, which are biased toward their initial value, zero.
        size = rate * math.sqrt(1 - ADAM_BETA2**step) / (1 - ADAM_BETA1**step)
        keep1, add1 = ADAM_BETA1, (1 - ADAM_BETA1) * clip
        keep2, add2 = ADAM_BETA2, (1 - ADAM_BETA2) * clip * clip
        # Local names are faster than globals, and only the dot products take more time.
        sqrt, epsilon = math.sqrt, ADAM_EPSILON

        for name, rows in parameters.items():
            first, second = self.first[name], self.second[name]
            for i, gradients in enumerate(gradient[name]):
                first[i] = [keep1 * m + add1 * g for m, g in zip(first[i], gradients)]
                second[i] = [keep2 * v + add2 * g * g for v, g in zip(second[i], gradients)]
                rows[i] = [
                    w - size * m / (sqrt(v) + epsilon)
                    for w, m, v in zip(rows[i], first[i], second[i])
                ]


# --- Checkpoints ---------------------------------------------------------------------


class Settings(NamedTuple):
    steps: int
    batch_size: int
    seed: int
    learning_rate: float


def save_checkpoint(
    folder: Path, step: int, settings: Settings, alphabet: str, parameters: Parameters, adam: Adam
) -> None:
    """Write everything that a resume needs, atomically.

    The text is written to a temporary file, which then replaces the target in one step,
    so that a crash never leaves a partial checkpoint.  JSON represents floats exactly.
    """
    state = {
        "step": step,
        "settings": settings._asdict(),
        "alphabet": alphabet,
        "parameters": parameters,
        "adam_first": adam.first,
        "adam_second": adam.second,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:06d}.json"
    temporary = path.with_suffix(".tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(json.dumps(state))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    say(f"saved checkpoint {path}")

    for old in checkpoints_in(folder)[:-RETAINED_CHECKPOINTS]:
        old.unlink()


def checkpoints_in(folder: Path) -> List[Path]:
    """By age, oldest first.  Not by step: an earlier run may have left later steps."""
    return sorted(folder.glob("step-*.json"), key=lambda file: (file.stat().st_mtime_ns, file))


def load_checkpoint(path: Path) -> Dict[str, Any]:
    """Read a checkpoint file, or the newest one in a folder."""
    if path.is_dir():
        found = checkpoints_in(path)
        if not found:
            raise FileNotFoundError(f"no checkpoint in {path}")
        path = found[-1]
    state: Dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    say(f"resuming from {path}")
    return state


# --- Stopping ------------------------------------------------------------------------


class StopRequest:
    """Records a SIGINT (Ctrl-C) or SIGTERM until the current step is done.

    An exception during an update would leave only some of the parameters updated, so
    the handler only records the signal.  A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self.signal: Optional[int] = None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.record)

    def record(self, number: int, _frame: Any) -> None:
        self.signal = number
        signal.signal(number, signal.SIG_DFL)


# --- Training ------------------------------------------------------------------------


def say(line: str) -> None:
    """Print a line and flush it, because Python buffers its output to a pipe."""
    print(line, flush=True)


def log_validation(parameters: Parameters, batch: Batch, step: int) -> None:
    loss = cross_entropy(forward(parameters, batch.contexts).probabilities, batch.targets)
    say(f"step {step}: val_loss {loss:.4f}, val_perplexity {math.exp(loss):.3f}")


class StepLog:
    """Collects steps, and prints a line after every `every` of them.

    The loss is the mean over these steps.  The norm (before clipping) and the learning
    rate are those of the last step.  The speed excludes validation and checkpoints.
    """

    def __init__(self, settings: Settings, every: int) -> None:
        self.settings = settings
        self.every = every
        self.losses: List[float] = []
        self.seconds = 0.0

    def add(
        self, step: int, epoch: int, loss: float, norm: float, rate: float, seconds: float
    ) -> None:
        self.losses.append(loss)
        self.seconds += seconds
        if step % self.every and step not in (1, self.settings.steps):
            return
        mean_loss = sum(self.losses) / len(self.losses)
        # One token is one character.
        speed = len(self.losses) * self.settings.batch_size / max(self.seconds, 1e-9)
        say(
            f"step {step}/{self.settings.steps} | epoch: {epoch} | loss: {mean_loss:.4f}"
            f" | grad_norm: {norm:.4f} | learning_rate: {rate:.3e}"
            f" | tokens_per_second: {speed:.0f}"
        )
        self.losses.clear()
        self.seconds = 0.0


def sample(parameters: Parameters, alphabet: str, seed: int, length: int = 400) -> str:
    """Generate text, one character at a time."""
    rng = random.Random(f"sample {seed}")
    temperature = 0.7  # below 1: likely characters are chosen more often than predicted
    # The context of the first character is the end of a paragraph.
    ids = [alphabet.index("\n")] * CONTEXT
    for _ in range(length):
        [probabilities] = forward(parameters, [ids[-CONTEXT:]]).probabilities
        weights = [p ** (1 / temperature) for p in probabilities]
        ids += rng.choices(range(len(alphabet)), weights)
    return "".join(alphabet[i] for i in ids[CONTEXT:])


def train(
    settings: Settings,
    resumed: Optional[Dict[str, Any]],
    checkpoint_dir: Path,
    log_every: int,
    fail_at: Optional[int],
) -> int:
    """Train to the last step, and return the exit status."""
    stop = StopRequest()
    corpus = load_corpus()
    batches = TrainingBatches(corpus.train, settings.batch_size, settings.seed)
    held_out = validation_batch(corpus.held_out)
    if resumed:
        if resumed["alphabet"] != corpus.alphabet:
            raise ValueError("cannot resume: the checkpoint is of a text with other characters")
        done, parameters = resumed["step"], resumed["parameters"]
        adam = Adam(resumed["adam_first"], resumed["adam_second"])
    else:
        done, parameters = 0, initial_parameters(len(corpus.alphabet), settings.seed)
        adam = Adam(zeros_like(parameters), zeros_like(parameters))

    say(
        f"training {parameter_count(parameters):,} parameters on {len(corpus.train):,}"
        f" characters ({len(corpus.alphabet)} distinct, {len(corpus.held_out):,} more held out)"
    )
    if done >= settings.steps:
        say(f"nothing to do: the checkpoint is at step {done}; use --steps to train further")
        return 0

    def save(step: int) -> None:
        save_checkpoint(checkpoint_dir, step, settings, corpus.alphabet, parameters, adam)

    log = StepLog(settings, log_every)
    for step in range(done + 1, settings.steps + 1):
        if step == fail_at:
            raise RuntimeError(f"failed at step {step}, as requested by --fail-at")

        started = time.perf_counter()
        batch = batches.at(step)
        activations = forward(parameters, batch.contexts)
        loss = cross_entropy(activations.probabilities, batch.targets)
        gradient = backward(parameters, batch, activations)
        norm = gradient_norm(gradient)
        rate = learning_rate_at(step, settings.steps, settings.learning_rate)
        adam.update(parameters, gradient, norm, step, rate)
        log.add(step, batches.epoch(step), loss, norm, rate, time.perf_counter() - started)

        last = step == settings.steps
        stopping = stop.signal  # read once, because the handler may change it at any time
        if step % VALIDATE_EVERY == 0 or last:
            log_validation(parameters, held_out, step)
        if step % CHECKPOINT_EVERY == 0 or last or stopping:
            save(step)
        if stopping:
            say(f"stopped by {signal.Signals(stopping).name} after step {step}")
            return 128 + stopping

    say("a sample of generated text:")
    for line in sample(parameters, corpus.alphabet, settings.seed).splitlines():
        say(textwrap.fill(line, 76, initial_indent="    ", subsequent_indent="    "))
    return 0


# --- Command line --------------------------------------------------------------------


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def default_checkpoint_dir() -> Path:
    """In the run folder if model-foundry names one, or else in ./runs."""
    return Path(os.environ.get("MODEL_FOUNDRY_RUN_DIR") or "runs") / "checkpoints"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train a small character-level language model in plain Python."
    )
    add = parser.add_argument
    add("--steps", type=positive_int, help=f"default {DEFAULTS['steps']}")
    add("--batch-size", type=positive_int, help=f"default {DEFAULTS['batch_size']}")
    add("--seed", type=int, help=f"default {DEFAULTS['seed']}")
    add("--learning-rate", type=float, help=f"the peak; default {DEFAULTS['learning_rate']}")
    add(
        "--checkpoint-dir",
        type=Path,
        default=default_checkpoint_dir(),
        help="default: checkpoints in $MODEL_FOUNDRY_RUN_DIR if that is set, else in runs",
    )
    add(
        "--resume",
        nargs="?",
        type=Path,
        const=True,
        metavar="PATH",
        help="continue from a checkpoint: a file, or the newest in a folder (by default the"
        " checkpoint folder); its options apply unless they are given",
    )
    add("--log-every", type=positive_int, default=10, help="steps per line; default 10")
    add(
        "--fail-at",
        type=positive_int,
        metavar="STEP",
        help="raise a RuntimeError at this step, to show how an error is recorded",
    )
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    resumed = None
    if arguments.resume is not None:
        # A bare --resume is parsed as True.
        source = arguments.checkpoint_dir if arguments.resume is True else arguments.resume
        try:
            resumed = load_checkpoint(source)
        except FileNotFoundError as error:
            sys.exit(f"cannot resume: {error}")

    # From the command line, or else from the checkpoint, or else the default.
    chosen = dict(DEFAULTS, **(resumed["settings"] if resumed else {}))
    for name in chosen:
        if getattr(arguments, name) is not None:
            chosen[name] = getattr(arguments, name)
    return train(
        Settings(**chosen),
        resumed,
        arguments.checkpoint_dir,
        arguments.log_every,
        arguments.fail_at,
    )


if __name__ == "__main__":
    sys.exit(main())
