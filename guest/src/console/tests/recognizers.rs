//! What each recognizer takes for metrics, and what it does not.

use super::*;

/// Each sample as the lines that are read in it.
fn all_read(samples: &[(&str, &[&str])]) {
    for (text, expected) in samples {
        assert_eq!(metrics(text), *expected, "{text:?}");
    }
}

#[test]
fn what_loggers_and_launchers_print_before_a_line_is_not_read() {
    for prefix in [
        "2024-05-01 12:00:00.123 | INFO     | __main__:train:42 - ",
        "I0303 12:00:01.123456 140012 train.py:88] ",
        "INFO:root:",
        "INFO:tensorflow:",
        "05/01/2024 12:00:03 - INFO - __main__ - ",
        "[12:00:04] INFO     ",
        "[gpu01:0/2] 2020-07-19 08:44:04,080 (trainer:464) INFO: ",
        "[2024-07-25 21:03:17,269] [INFO] [logging.py:96:log_dist] [Rank 0] ",
        "01/17/2024 13:47:27 [INFO|DP=0|PP=0|TP=0|ip-10-0-0-1]: ",
        "(RayTrainWorker pid=63669, ip=10.0.0.4) ",
        "[1,0]<stdout>:",
        "[rank0]: ",
        "[default0]:",
        "2024-05-01T12:00:00.123456789Z stdout F ",
        "[pod/train-abc/main] ",
        "trainer-1  | ",
        "May 01 12:00:00 node7 python[812]: ",
        "[07/21 14:43:00] ppdet.engine INFO: ",
        "22/06/01 10:06:44 INFO RabitTracker: 2022-06-01 10:06:44,668 INFO ",
        "\u{1b}[32m16:43:08\u{1b}[0m SUCCESS ",
        "[INFO|trainer.py:2134] 2024-05-05 12:00:00,412 >> ",
    ] {
        assert_eq!(metrics(&format!("{prefix}step 70 loss=0.5")), ["step 70 loss=0.5"], "{prefix}");
    }
    assert_eq!(
        metrics("[12:00:04] INFO     step 50 loss=0.55          train.py:42"),
        ["step 50 loss=0.55"]
    );
}

#[test]
fn records_may_stand_side_by_side_and_go_over_lines() {
    all_read(&[
        (
            "{'loss': 1.5, 'step': 1}{'loss': 1.6, 'step': 2}",
            &["step 1 loss=1.5", "step 2 loss=1.6"],
        ),
        ("{'loss': 1.5, 'step': 1}, time=3s", &["step 1 loss=1.5 time=3"]),
        ("{\n  \"step\": 3,\n  \"loss\": 0.5\n}\n", &["step 3 loss=0.5"]),
        ("INFO:x:{'a/loss': 0.5,\n 'b/loss': 0.25}\n", &["step ~1 a/loss=0.5 b/loss=0.25"]),
        // A brace that begins nothing keeps no line from being read.
        ("{\nstep 4 loss=1\n", &["step 4 loss=1"]),
        ("{'step': 4,\nstep 5 loss=1\n", &["step 5 loss=1"]),
        ("{'global_step/max_steps': '12/94', 'loss': 0.4}", &["step 12 loss=0.4"]),
        ("{'step': 1, 'lr': [0.1, 0.01]}", &["step 1 lr_0=0.1 lr_1=0.01"]),
    ]);
}

#[test]
fn values_are_read_in_every_form() {
    all_read(&[
        (
            "step 1 loss tensor(0.5, device='cuda:0', grad_fn=<N>) acc 0.75",
            &["step 1 loss=0.5 acc=0.75"],
        ),
        ("step 1 loss: np.float64(0.5), x: f(3)", &["step 1 loss=0.5"]),
        ("step 1 loss=1 lr=[0.1, 0.01]", &["step 1 loss=1 lr_0=0.1 lr_1=0.01"]),
        ("step 1 loss=1 lr=[0.1, 0.1], mom=[[0.9, 0.95]]", &["step 1 loss=1 lr=0.1"]),
        ("step 1 loss 1.23(1.50) acc 0.5 (0.4)", &["step 1 loss=1.23 acc=0.5"]),
        ("step 1 loss 0.41 ± 0.09 acc 0.9 +/- 0.1", &["step 1 loss=0.41 acc=0.9"]),
        (
            "step 1 loss 2 | tokens: 634K | seen: 1.02M | mem: 66.9GiB(37%)",
            &["step 1 loss=2 tokens=634000 seen=1020000 mem=66.9"],
        ),
        ("step 31K loss 2", &["step 31000 loss=2"]),
        ("step 1 loss 2 grad norm nan scale inf", &["step 1 loss=2 grad_norm=NaN scale=inf"]),
        ("step 1 loss: nan, time: nanms", &["step 1 loss=NaN time=NaN"]),
        ("step 1 loss 2 | time 1h 38m 21s | eta 0:12:31", &["step 1 loss=2 time=5901.0"]),
        ("step 1：loss：0.5，acc：0.25", &["step 1 loss=0.5 acc=0.25"]),
        ("epoch: 1 step: 100, loss is 2.3", &["step 100 epoch 1 loss=2.3"]),
        ("step 1 loss 2 total 118231GF", &["step 1 loss=2"]),
    ]);
}

#[test]
fn a_log_has_decimal_points_or_decimal_commas() {
    all_read(&[
        ("step 1 loss=0,5124\nstep 2 loss=1,234\n", &["step 1 loss=0.5124", "step 2 loss=1.234"]),
        // After a decimal point a comma is none: neither 0 nor 512 is the loss.
        ("step 1 loss=0.5\nstep 2 loss=0,512 acc=1\n", &["step 1 loss=0.5", "step 2 acc=1"]),
        ("step 1 loss=2 tokens=1,234\n", &["step 1 loss=2 tokens=1234"]),
        ("step 1 loss=0,5 tokens=1.234,5\n", &["step 1 loss=0.5 tokens=1234.5"]),
        ("step 1 loss=0,5, acc=0,25\n", &["step 1 loss=0.5 acc=0.25"]),
    ]);
}

#[test]
fn steps_have_many_names() {
    for (line, step) in [
        ("step10 loss 0.5", 10),
        ("step_10 loss 0.5", 10),
        ("Step-10 loss: 0.5", 10),
        ("it 10 loss 0.5", 10),
        ("n_iter=10 loss=0.5", 10),
        ("iterations: 10 loss: 0.5", 10),
        ("Steps : 10, Gen loss : 0.5", 10),
        ("(10/100) loss: 0.5", 10),
        ("10/100 loss: 0.5", 10),
        ("Batch [10] loss 0.5", 10),
        ("Up. 10 : loss 0.5", 10),
        ("update 10 loss 0.5", 10),
        ("Episode 10 reward 0.5", 10),
        ("epoch=0/micro_step=34/global_step=10, loss=0.5", 10),
        ("epoch/iter: 0/10  loss: 0.5", 10),
        ("1epoch:train:1-10batch: loss=0.5", 10),
        ("训练次数：10, loss：0.5", 10),
    ] {
        let found = events(line);
        let [Event::Metrics(read)] = found.as_slice() else { panic!("{line}: {found:?}") };
        assert_eq!((read.step, read.step_inferred), (step, false), "{line}");
    }
    // Words beside a step that make it something else.
    all_read(&[("fps step: 112918 loss: 1", &[]), ("max step: 10 loss: 1", &[])]);
}

#[test]
fn rows_begin_with_a_count_and_no_word_for_it() {
    all_read(&[
        ("[10]\ttrain-rmse:0.5\teval-rmse:0.6", &["step 10 train-rmse=0.5 eval-rmse=0.6"]),
        ("0:\tlearn: 0.69\ttest: 0.68\tbest: 0.68 (0)", &["step 0 learn=0.69 test=0.68 best=0.68"]),
        ("490 | loss 5.75 | lr 4.9e-05 | 8060.78ms", &["step 490 loss=5.75 lr=4.9e-5"]),
        ("333 154 Loss=0.04 Time=0.04", &["step 154 epoch 333 Loss=0.04 Time=0.04"]),
        ("1|55|Loss: 1.5", &["step 55 epoch 1 Loss=1.5"]),
        (
            " 100: 2.3, 3.4 avg loss, 0.001 rate, 3.2 seconds",
            &["step 100 avg_loss=3.4 rate=0.001 seconds=3.2"],
        ),
        ("[10] items", &[]),
        ("0 | model | Sequential | 1.2 M | train", &[]),
        ("12: there were 3 losses", &[]),
        ("[0] NCCL INFO comm 0x55 rank 0 nranks 2", &[]),
    ]);
}

#[test]
fn bars_move_the_position_only_if_they_are_the_training_s() {
    let dict = "{'loss': 1.0, 'epoch': 0.5}\n";
    let bar = |text: &str, done: u32, total: u32| {
        format!("\r{text} 10%|█ | {done}/{total} [00:01<00:10, 9.0it/s]")
    };
    let training = bar("", 10, 564);
    for other in [
        bar("Downloading:", 3, 9_000),
        bar("Map (num_proc=4):", 3, 9_000),
        bar("Validation DataLoader 0:", 7, 9_000),
        bar("", 7, 20),
        "Step 2/3: Tokenizing with max_length=512\n".to_owned(),
        "Step 3/12 : ENV CUDA_VERSION=12.1\n".to_owned(),
        "Processed prompts:  50%|█ | 2/4 [00:00<00:00, 8.4it/s, est. speed input: 46 toks/s, output: 135 toks/s]\n".to_owned(),
    ] {
        let text = format!("{training}\n{other}\n{dict}");
        assert_eq!(metrics(&text), ["step ~10 epoch 0.5 loss=1.0"], "{other}");
    }
    // An announced total decides which bar without a description is the training's.
    let text =
        format!("Total optimization steps = 50\n{}\n{}\n{dict}", bar("", 30, 50), bar("", 7, 900));
    assert_eq!(metrics(&text), ["step ~30 epoch 0.5 loss=1.0"]);
}

#[test]
fn an_evaluation_s_bar_counts_once_at_the_training_s_step() {
    let text = "step 100 loss=0.5\n\rEvaluating:  50%|█ | 5/10 [00:01<00:01, 5it/s, loss=0.9]\rEvaluating: 100%|██| 10/10 [00:01<00:00, 5it/s, loss=0.8]\nstep 200 loss=0.4\n";
    assert_eq!(
        metrics(text),
        ["step 100 loss=0.5", "step ~100 eval_loss=0.8", "step 200 loss=0.4"]
    );
}

#[test]
fn the_values_of_a_bar_belong_to_its_step() {
    // tqdm draws the new position with the old values first.
    let state = |step: u32, postfix: &str| {
        format!("\r {step}%| | {step}/100 [00:00<00:10, 9it/s{postfix}]")
    };
    let text =
        [state(1, ""), state(1, ", loss=3"), state(2, ", loss=3"), state(2, ", loss=2")].concat();
    assert_eq!(metrics(&format!("{text}\n")), ["step 1 loss=3", "step 2 loss=2"]);
    // A bar that a line was printed into keeps its values to itself.
    assert_eq!(
        metrics(&format!("{}Iter 20: loss 0.4\n", state(19, ", loss=0.5"))),
        ["step 19 loss=0.5", "step 20 loss=0.4"]
    );
}

#[test]
fn tables_have_their_names_in_the_first_row() {
    all_read(&[
        (
            "epoch  train_loss  valid_loss  time\n0      1.25        0.5         00:12\n",
            &["step ~1 epoch 0 train_loss=1.25 valid_loss=0.5"],
        ),
        (
            "step 9 x=1 loss=2\n|  AP  |  AP50  |\n|:----:|:----:|\n| 33.1 | 54.2 |\n",
            &["step 9 x=1 loss=2", "step ~9 AP=33.1 AP50=54.2"],
        ),
        (
            "--------\n| rollout/ |  |\n|    ep_rew_mean | 22.4 |\n| time/ | |\n|    total_timesteps | 2048 |\n--------\n",
            &["step 2048 rollout/ep_rew_mean=22.4 time/total_timesteps=2048"],
        ),
        // What pandas prints of a column.
        ("         loss    acc\nmean   0.51   0.81\nstd    0.10   0.01\n", &[]),
        ("Layer (type)    Output Shape    Param #\nconv1    3    320\n", &[]),
        (
            "| NVIDIA-SMI 550.90.07  Driver Version: 550 |\n| N/A   32C    P0 |  5519MiB |  4% |\n",
            &[],
        ),
        ("------\n| lr | 0.1 |\n| batch_size | 32 |\n------\n", &[]),
    ]);
}

#[test]
fn blocks_have_the_step_on_the_line_above() {
    all_read(&[
        (
            "     Learning iteration 17/1500\n\n   Mean reward: -68.5\n   Mean value loss: 0.7\n-----\n",
            &["step 17 Mean_reward=-68.5 Mean_value_loss=0.7"],
        ),
        (
            "Epoch 195\nlearning rate: 0.1\ntrain_loss -0.75\nEpoch 196\ntrain_loss -0.76\n",
            &[
                "step ~1 epoch 195 learning_rate=0.1 train_loss=-0.75",
                "step ~2 epoch 196 train_loss=-0.76",
            ],
        ),
        // A configuration that begins with an epoch.
        ("epoch: 10\nlr: 0.1\nmomentum: 0.9\nmodel: resnet\n", &[]),
        ("step: 5\nlr: 0.1\n", &[]),
    ]);
}

#[test]
fn evaluations_have_names_of_their_own() {
    all_read(&[
        (
            "step 1 loss=3\nstep 1 validation: loss=2\n",
            &["step 1 loss=3", "step 1 validation_loss=2"],
        ),
        ("[val] epoch 1 loss: 0.6\n", &["step ~0 epoch 1 val_loss=0.6"]),
        ("Epoch 2 | valid | loss 0.5\n", &["step ~0 epoch 2 valid_loss=0.5"]),
        ("Epoch(val) [1][500/500]  loss: 0.5\n", &["step ~0 epoch 1 val_loss=0.5"]),
        (
            "Train Epoch: 1 [64/100]\tLoss: 3\nTest: [ 1/19] Loss 2 (2)\n",
            &["step 64 epoch 1 Loss=3", "step ~64 epoch 1 test_Loss=2"],
        ),
        // A name that only evaluations print, and one that says so itself.
        (
            "step 1 loss=3\nstep 1 eval: bleu=2 eval_loss=1\n",
            &["step 1 loss=3", "step 1 bleu=2 eval_loss=1"],
        ),
    ]);
}

#[test]
fn counters_within_an_epoch_become_steps_of_the_run() {
    let line = |epoch: u32, step: u32| format!("Epoch: [{epoch}][{step}/18] loss 0.5\n");
    let text = [line(0, 9), line(0, 18), line(1, 9), line(2, 18)].concat();
    assert_eq!(
        metrics(&text),
        [
            "step 9 epoch 0 loss=0.5",
            "step 18 epoch 0 loss=0.5",
            "step 27 (9) epoch 1 loss=0.5",
            "step 54 (18) epoch 2 loss=0.5"
        ]
    );
    // A resumed run goes on behind the epochs before, whether they are counted from 0 or from 1.
    assert_eq!(shown(&events_after(Some(40), &line(2, 9))), ["step 45 (9) epoch 2 loss=0.5"]);
    assert_eq!(shown(&events_after(Some(40), &line(3, 9))), ["step 45 (9) epoch 3 loss=0.5"]);
    // Without its length, the next epoch begins where the last one ended.
    let text = "Epoch 1, batch 40, loss=1\nEpoch 1, batch 90, loss=1\nEpoch 2, batch 40, loss=1\n";
    assert_eq!(
        metrics(text),
        ["step 40 epoch 1 loss=1", "step 90 epoch 1 loss=1", "step 130 (40) epoch 2 loss=1"]
    );
    // A counter that goes on across epochs is the run's.
    let text = "Epoch 1/3, step 10/30, loss=1\nEpoch 2/3, step 20/30, loss=1\n";
    assert_eq!(metrics(text), ["step 10 epoch 1 loss=1", "step 20 epoch 2 loss=1"]);
    assert_eq!(
        shown(&events_after(Some(19), "Epoch 2/3, step 20/30, loss=1\n")),
        ["step 20 epoch 2 loss=1"]
    );
}

#[test]
fn the_step_at_which_a_training_ends_is_known_from_its_totals() {
    let ends = |text: &str| -> Vec<Option<u64>> {
        let ends = |event: &Event| match event {
            Event::Metrics(line) => line.final_step,
            Event::Error(_) => None,
        };
        events(text).iter().map(ends).collect()
    };
    assert_eq!(ends("step 290/700 | epoch: 0 | loss: 2\n"), [Some(700)]);
    assert_eq!(ends("Epoch 1/5\n18/18 - 4s - loss: 0.3\n"), [Some(90)]);
    assert_eq!(ends("Total optimization steps = 564\nstep 3 loss=1\n"), [Some(564)]);
    assert_eq!(ends("Epoch: [0][18/18] loss 1\nEpoch: [1][9/18] loss 1\n"), [Some(18), None]);
    assert_eq!(ends("step 3 loss=1\n"), [None]);
}

#[test]
fn the_user_s_patterns_come_first() {
    let read = |config: &str, text: &str| {
        let mut parser = Parser::with_patterns(None, Patterns::from_json(config).unwrap());
        let mut events = parser.feed(Output::Stdout, text.as_bytes());
        events.extend(parser.finish());
        shown(&events)
    };
    let config =
        r#"{"patterns": ["it (?<step>\\d+) \\| ce=(?<loss>[\\d.]+)"], "ignore": ["^debug"]}"#;
    assert_eq!(read(config, "it 7 | ce=0.5\n"), ["step 7 loss=0.5"]);
    assert_eq!(read(config, "debug step 3 loss=1\nstep 4 loss=1\n"), ["step 4 loss=1"]);
    let config = r#"{"patterns": ["<(?<phase>\\w+)> (?<epoch>\\d+): (?<loss>\\S+)"]}"#;
    assert_eq!(read(config, "<val> 2: 1.5K\n"), ["step ~0 epoch 2 val_loss=1500"]);
    assert_eq!(
        read(r#"{"step_from": "env_step"}"#, "loss=1 env_step=400 step=3\n"),
        ["step 400 loss=1 env_step=400"]
    );
    for (config, message) in [
        ("[", "the patterns are not valid JSON"),
        (r#"{"patterns": ["it ("]}"#, "the pattern \"it (\" does not compile"),
        (r#"{"patterns": ["it (?<step>\\d+)"]}"#, "has no group for a metric, such as (?<loss>"),
        (r#"{"pattern": []}"#, "unknown key \"pattern\""),
        (r#"{"ignore": "x"}"#, "`ignore` must be a list of patterns"),
    ] {
        let error = Patterns::from_json(config).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn an_explanation_names_the_recognizer_of_every_line() {
    let mut parser = Parser::new(None);
    let text = "hello\nstep 1 loss=2\n{'loss': 1.0}\nStep 1/3: Loading with size=3\n";
    let readings = parser.explain(Output::Stdout, text.as_bytes());
    let recognizers: Vec<_> =
        readings.iter().map(|reading| (reading.line, reading.recognizer.as_str())).collect();
    assert_eq!(recognizers, [(1, ""), (2, "pairs"), (3, "record"), (4, "")]);
    assert_eq!(readings[3].reason, "a numbered stage, not a step of the training");
    assert_eq!(shown(&readings[1].events), ["step 1 loss=2"]);
}

#[test]
fn tracebacks_of_other_printers() {
    for (text, expected) in [
        (
            "Traceback (most recent call last):\n\n  File \"a.py\", line 1, in f\n    x\n    └ 3\n\n> File \"a.py\", line 2, in g\n    y\n\nZeroDivisionError: division by zero\n",
            "ZeroDivisionError: division by zero",
        ),
        (
            "╭──── Traceback (most recent call last) ────╮\n│ /app/a.py:1 in <module> │\n╰────╯\nOutOfMemoryError: CUDA out of memory.\n",
            "OutOfMemoryError: CUDA out of memory.",
        ),
        (
            "-----\nRuntimeError                 Traceback (most recent call last)\nCell In[3], line 1\n----> 1 f()\n\nRuntimeError: CUDA error\n",
            "RuntimeError: CUDA error",
        ),
        (
            "terminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error\nframe #0: x\n",
            "c10::Error: CUDA error",
        ),
        (
            "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n  File \"x.py\", line 3 in f\n",
            "Fatal Python error: Segmentation fault",
        ),
    ] {
        assert_eq!(metrics(text), [expected], "{text}");
        // What follows is read again.
        let after = format!("{text}\nstep 5 loss=1\n");
        assert_eq!(metrics(&after), [expected, "step 5 loss=1"], "{after}");
    }
    for mention in [
        "the log says Traceback (most recent call last)\n",
        "see ╭── Traceback (most recent call last) in the manual\n",
        "RuntimeError Traceback (most recent call last)\n",
        "terminate called\n",
    ] {
        assert_eq!(metrics(mention), nothing(), "{mention}");
    }
}
