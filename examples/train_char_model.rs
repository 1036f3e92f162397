//! Train a small character-level language model that logs for itself.
//!
//! The model is that of train_char_model.py, which lists its sources: the neural probabilistic
//! language model of Bengio et al. (2003), with characters instead of words. It sees the last few
//! characters and predicts how likely each character is to come next:
//!
//!     x = [E[c1], E[c2], …, E[cn]]        embeddings of the context, concatenated
//!     h = tanh(x W1 + b1)                 one hidden layer
//!     p = softmax(h W2 + b2)              a probability for each next character
//!
//! The model needs only the standard library. `train` comes first, because only `main` and `train`
//! use model-foundry. The run folder is runs/train_char_model_rs. Under `model-foundry run` the
//! trainer joins the run of that program instead.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::process::{self, ExitCode};
use std::time::Instant;
use std::{array, env, f64, fmt};

use model_foundry::{Level, Run, fields};

const TEXT: &str = include_str!("data/keeping_the_log.txt");

const CONTEXT: usize = 8; // characters that the model sees
const EMBEDDING: usize = 16; // numbers in the embedding of each character
const HIDDEN: usize = 128; // units in the hidden layer

const BATCH: usize = 64;
const LEARNING_RATE: f64 = 0.004; // the peak
const WARMUP_STEPS: f64 = 50.0;
const MAX_GRADIENT_NORM: f64 = 1.5;
const ADAM_BETA1: f64 = 0.9;
const ADAM_BETA2: f64 = 0.99;
const CHECKPOINT_EVERY: u64 = 500;

fn main() -> ExitCode {
    let Some(options) = Options::parse() else {
        eprintln!("usage: train_char_model [--steps N] [--seed N] [--fail-at STEP]");
        return ExitCode::from(2);
    };
    let settings = fields! { steps: options.steps, seed: options.seed };
    // Under `model-foundry run` this joins that program's run.
    let run = Run::builder("train_char_model_rs").section("training", &settings).open();
    let run = run.unwrap_or_else(|error| {
        eprintln!("cannot log the run: {error}");
        process::exit(1);
    });
    if let Err(error) = train(&run, &options) {
        // Ignored, because the run counts and reports a record that it cannot write.
        let _ = run.fail(error.as_ref(), &settings);
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS // dropping the run ends it as completed
}

fn train(run: &Run, options: &Options) -> Result<(), Box<dyn Error>> {
    let (logger, metrics, performance) = (run.logger("trainer"), run.metrics(), run.performance());
    // Named once, so that a row is only its numbers.
    let columns = metrics.columns(&["loss", "grad_norm", "learning_rate", "tokens_per_second"])?;
    // The configuration says how often to log.
    let log_every = u64::from(run.config().log_metrics_every_n_steps);
    let validate_every = u64::from(run.config().log_detailed_metrics_every_n_steps);
    let memory_every = u64::from(run.config().log_memory_every_n_steps);

    let Options { steps, seed, fail_at } = *options;
    let mut random = Random(seed);
    let (alphabet, text) = read_text();
    let (text, held_out) = text.split_at(text.len() / 10 * 9);
    let held_out = Batch::at(held_out, &Vec::from_iter(CONTEXT..held_out.len()));
    let mut order = Vec::from_iter(CONTEXT..text.len());
    let batches = order.len() / BATCH; // in each epoch
    let mut parameters = initial_parameters(alphabet, &mut random);
    let mut adam = Adam { first: zeros_like(&parameters), second: zeros_like(&parameters) };
    let size: usize = parameters.iter().map(Vec::len).sum();
    logger.info("training began", &fields! { steps, seed, parameters: size, text: text.len() })?;

    let mut epoch_losses = Vec::new();
    let mut losses = Vec::new(); // since the last row
    let mut seconds = 0.0; // since the last row, without validation and checkpoints
    for step in 1..=steps {
        let started = Instant::now();
        let place = (step - 1) as usize % batches;
        if place == 0 {
            random.shuffle(&mut order);
        }
        if fail_at == Some(step) {
            // Makes the loss NaN, to show how a failure is logged.
            parameters[0].fill(f32::NAN);
        }

        let batch = Batch::at(text, &order[place * BATCH..][..BATCH]);
        let timed = performance.time_block("forward");
        let activations = forward(&parameters, &batch);
        let loss = activations.loss;
        timed.end();

        let timed = performance.time_block("backward");
        let gradient = backward(&parameters, &batch, activations);
        timed.end();

        let timed = performance.time_block("update");
        let rate = learning_rate(step, steps);
        let norm = adam.update(&mut parameters, &gradient, step, rate);
        timed.end();

        seconds += started.elapsed().as_secs_f64();
        losses.push(loss);
        epoch_losses.push(loss);

        let last = step == steps;
        let epoch = step as f64 / batches as f64;
        if step % log_every == 0 || last || !loss.is_finite() {
            // One token is one character.
            let speed = (losses.len() * BATCH) as f64 / seconds;
            columns.log(step, epoch, &[mean(&losses), norm, rate, speed])?;
            losses.clear();
            seconds = 0.0;
        }
        if !loss.is_finite() {
            return Err(Diverged { step, loss }.into());
        }
        if step % validate_every == 0 || last {
            let val_loss = forward(&parameters, &held_out).loss;
            metrics.log_step(step, epoch, &fields! { val_loss, val_perplexity: val_loss.exp() })?;
            logger.info("validated", &fields! { step, loss, val_loss })?;
        }
        if place + 1 == batches {
            metrics.log_epoch_summary(epoch, &fields! { train_loss: mean(&epoch_losses) })?;
            epoch_losses.clear();
        }
        if step % memory_every == 0 {
            performance.log_memory_usage(Some(step))?;
        }
        if step % CHECKPOINT_EVERY == 0 || last {
            let timed = performance.time_block("checkpoint").log_to(&logger, Level::Info);
            let state = [&parameters, &adam.first, &adam.second];
            if let Err(error) = save(&run.folder().join("checkpoints"), state) {
                timed.fail();
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// The loss is not finite.
#[derive(Debug)]
struct Diverged {
    step: u64,
    loss: f64,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the loss is {} at step {}", self.loss, self.step)
    }
}

impl Error for Diverged {}

/// Save the parameters and Adam's moments, atomically: the rename replaces the previous checkpoint
/// in one step.
fn save(folder: &Path, state: [&Parameters; 3]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = BufWriter::new(File::create(folder.join("latest.tmp"))?);
    for value in state.into_iter().flatten().flatten() {
        file.write_all(&value.to_le_bytes())?;
    }
    file.into_inner()?.sync_all()?;
    fs::rename(folder.join("latest.tmp"), folder.join("latest.bin"))
}

// --- Model -------------------------------------------------------------------------------------

/// E, W1, b1, W2 and b2, row by row. A gradient, and each of Adam's moments, has the same shape.
type Parameters = [Vec<f32>; 5];

/// The results of the forward pass that the backward pass needs, a row per example, and the loss.
struct Activations {
    inputs: Vec<f32>,
    hidden: Vec<f32>,
    probabilities: Vec<f32>,
    loss: f64, // the cross-entropy: the mean of -ln p(target)
}

/// Weights of variance 1/fan-in (after Glorot & Bengio 2010), and biases of zero. The output layer
/// starts ten times smaller, so that the first prediction is close to uniform and the first loss
/// close to ln(characters).
fn initial_parameters(characters: usize, random: &mut Random) -> Parameters {
    let inputs = CONTEXT * EMBEDDING;
    let mut uniform = |fan_in: usize, size: usize, scale: f64| -> Vec<f32> {
        let bound = scale * (3.0 / fan_in as f64).sqrt();
        (0..size).map(|_| (bound * (2.0 * random.uniform() - 1.0)) as f32).collect()
    };
    [
        uniform(1, characters * EMBEDDING, 1.0),
        uniform(inputs, inputs * HIDDEN, 1.0),
        vec![0.0; HIDDEN],
        uniform(HIDDEN, HIDDEN * characters, 0.1),
        vec![0.0; characters],
    ]
}

fn zeros_like(parameters: &Parameters) -> Parameters {
    array::from_fn(|i| vec![0.0; parameters[i].len()])
}

fn forward([embedding, w1, b1, w2, b2]: &Parameters, batch: &Batch) -> Activations {
    let embed = |&character: &usize| &embedding[character * EMBEDDING..][..EMBEDDING];
    let inputs: Vec<f32> = batch.contexts.iter().flat_map(embed).copied().collect();
    let mut hidden = affine(&inputs, w1, b1);
    hidden.iter_mut().for_each(|h| *h = h.tanh());
    let mut probabilities = affine(&hidden, w2, b2);
    probabilities.chunks_exact_mut(b2.len()).for_each(softmax);
    let rows = probabilities.chunks_exact(b2.len()).zip(&batch.targets);
    let losses = Vec::from_iter(rows.map(|(row, &target)| -f64::from(row[target]).ln()));
    Activations { inputs, hidden, probabilities, loss: mean(&losses) }
}

/// exp(z) / sum(exp(z)), shifted by the largest z so that nothing overflows.
fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|z| *z = (*z - largest).exp());
    let total: f32 = row.iter().sum();
    row.iter_mut().for_each(|p| *p /= total);
}

/// The gradient of the mean loss, by the chain rule from the output backwards.
fn backward(parameters: &Parameters, batch: &Batch, activations: Activations) -> Parameters {
    let [_, w1, _, w2, b2] = parameters;
    let mut gradient = zeros_like(parameters);
    let [d_embedding, d_w1, d_b1, d_w2, d_b2] = &mut gradient;

    // Softmax and cross-entropy together: dL/dz = (p - onehot(target)) / size.
    let mut d_logits = activations.probabilities;
    for (row, &target) in d_logits.chunks_exact_mut(b2.len()).zip(&batch.targets) {
        row[target] -= 1.0;
        row.iter_mut().for_each(|d| *d /= batch.targets.len() as f32);
    }
    // Through the output layer, and then tanh, whose derivative is 1 - tanh².
    let mut d_hidden = affine_backward(&activations.hidden, w2, &d_logits, d_w2, d_b2);
    d_hidden.iter_mut().zip(&activations.hidden).for_each(|(d, h)| *d *= 1.0 - h * h);
    let d_inputs = affine_backward(&activations.inputs, w1, &d_hidden, d_w1, d_b1);
    // Add each slice of the input's gradient to the gradient of its character.
    for (d_slice, &character) in d_inputs.chunks_exact(EMBEDDING).zip(&batch.contexts) {
        add_scaled(&mut d_embedding[character * EMBEDDING..][..EMBEDDING], 1.0, d_slice);
    }
    gradient
}

/// x W + b for each row x. Row i of W has the weights from input i to each output.
fn affine(x: &[f32], w: &[f32], b: &[f32]) -> Vec<f32> {
    let inputs = w.len() / b.len();
    let mut out = b.repeat(x.len() / inputs);
    for (x, out) in x.chunks_exact(inputs).zip(out.chunks_exact_mut(b.len())) {
        x.iter().zip(w.chunks_exact(b.len())).for_each(|(x, w)| add_scaled(out, *x, w));
    }
    out
}

/// The backward pass of `affine`: adds to the gradients of W and b, and returns that of x.
fn affine_backward(x: &[f32], w: &[f32], d: &[f32], d_w: &mut [f32], d_b: &mut [f32]) -> Vec<f32> {
    let (inputs, outputs) = (w.len() / d_b.len(), d_b.len());
    let mut d_x = Vec::with_capacity(x.len());
    for (x, d) in x.chunks_exact(inputs).zip(d.chunks_exact(outputs)) {
        add_scaled(d_b, 1.0, d);
        x.iter().zip(d_w.chunks_exact_mut(outputs)).for_each(|(x, d_w)| add_scaled(d_w, *x, d));
        d_x.extend(w.chunks_exact(outputs).map(|w| dot(w, d)));
    }
    d_x
}

fn add_scaled(sum: &mut [f32], scale: f32, row: &[f32]) {
    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += scale * value);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

// --- Optimizer ---------------------------------------------------------------------------------

/// A linear warm-up, multiplied by half a cosine period that falls to zero (Loshchilov & Hutter
/// 2017).
fn learning_rate(step: u64, steps: u64) -> f64 {
    let warmup = (step as f64 / WARMUP_STEPS).min(1.0);
    let progress = (step - 1) as f64 / steps as f64;
    LEARNING_RATE * warmup * 0.5 * (1.0 + (f64::consts::PI * progress).cos())
}

/// Adam (Kingma & Ba 2015, algorithm 1), on a gradient clipped by its norm.
struct Adam {
    first: Parameters,  // m, the running mean of the gradient
    second: Parameters, // v, the running mean of its square
}

impl Adam {
    /// Make one step, and return the gradient's norm before clipping. `step` starts at 1.
    fn update(
        &mut self,
        weights: &mut Parameters,
        gradient: &Parameters,
        step: u64,
        rate: f64,
    ) -> f64 {
        let norm = gradient.iter().flatten().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
        // Pascanu et al. 2013: scale the gradient down if its norm is above the limit.
        let clip = (MAX_GRADIENT_NORM / norm).min(1.0) as f32;
        // As at the end of the paper's section 2, the step size includes the corrections of both
        // moments, which are biased toward their initial value, zero.
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        let size = (rate * correction(ADAM_BETA2).sqrt() / correction(ADAM_BETA1)) as f32;
        let (keep1, keep2) = (ADAM_BETA1 as f32, ADAM_BETA2 as f32);

        for i in 0..gradient.len() {
            let moments = self.first[i].iter_mut().zip(&mut self.second[i]);
            for ((w, g), (m, v)) in weights[i].iter_mut().zip(&gradient[i]).zip(moments) {
                let g = g * clip;
                *m = keep1 * *m + (1.0 - keep1) * g;
                *v = keep2 * *v + (1.0 - keep2) * g * g;
                *w -= size * *m / (v.sqrt() + 1e-8);
            }
        }
        norm
    }
}

// --- Text, random numbers and the command line -------------------------------------------------

/// The number of distinct characters, and the text as indices of characters.
fn read_text() -> (usize, Vec<usize>) {
    // A line break inside a paragraph only wraps the text: replace it with a space.
    let paragraph = |text: &str| Vec::from_iter(text.split_whitespace()).join(" ");
    let text = Vec::from_iter(TEXT.split("\n\n").map(paragraph)).join("\n");
    let alphabet = Vec::from_iter(BTreeSet::from_iter(text.chars()));
    let ids =
        text.chars().filter_map(|character| alphabet.binary_search(&character).ok()).collect();
    (alphabet.len(), ids)
}

/// Contexts of CONTEXT characters, concatenated, and the character that follows each.
struct Batch {
    contexts: Vec<usize>,
    targets: Vec<usize>,
}

impl Batch {
    /// The examples whose targets are at these positions in the text.
    fn at(text: &[usize], positions: &[usize]) -> Self {
        let context = |&position: &usize| &text[position - CONTEXT..position];
        Self {
            contexts: positions.iter().flat_map(context).copied().collect(),
            targets: positions.iter().map(|&position| text[position]).collect(),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// SplitMix64 (Steele, Lea & Flood 2014): the same numbers for the same seed.
struct Random(u64);

impl Random {
    /// A number from 0 to 1, with 1 excluded.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The Fisher-Yates shuffle.
    fn shuffle(&mut self, items: &mut [usize]) {
        for i in (1..items.len()).rev() {
            items.swap(i, (self.uniform() * (i + 1) as f64) as usize);
        }
    }
}

struct Options {
    steps: u64,
    seed: u64,
    fail_at: Option<u64>,
}

impl Options {
    /// Parse the command line; None if it is invalid.
    fn parse() -> Option<Self> {
        let mut options = Self { steps: 2000, seed: 1, fail_at: None };
        let mut arguments = env::args().skip(1);
        while let Some(name) = arguments.next() {
            let number = arguments.next()?.parse().ok()?;
            match name.as_str() {
                "--steps" => options.steps = number,
                "--seed" => options.seed = number,
                "--fail-at" => options.fail_at = Some(number),
                _ => return None,
            }
        }
        Some(options)
    }
}
