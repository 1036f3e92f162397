//! The output of each framework.

use super::*;

#[test]
fn json_objects() {
    assert_eq!(
        metrics(r#"{"step": 10, "epoch": 1, "loss": 2.5, "lr": 0.001, "name": "run", "ok": true}"#),
        ["step 10 epoch 1 loss=2.5 lr=0.001"]
    );
    assert_eq!(
        metrics(
            r#"{"step":1,"metrics":{"loss":0.5,"train":{"acc":1}},"list":[1,2,{"a":3}],"none":null}"#
        ),
        ["step 1 loss=0.5 train/acc=1"]
    );
    assert_eq!(metrics(r#"{"loss": NaN, "acc": -Infinity}"#), ["step ~1 loss=NaN acc=-inf"]);
    assert_eq!(
        metrics(r#"{"global_step": 7, "step": 3, "iter": 2, "val loss": 1e-3}"#),
        ["step 7 val_loss=0.001"]
    );
    assert_eq!(metrics(r#"{"iteration": 7, "loss": 1}"#), ["step 7 loss=1"]);
    assert_eq!(
        metrics(r#"{"train/global_step": 7.0, "train/epoch": 0.5, "train/loss": 1}"#),
        ["step 7 epoch 0.5 train/loss=1"]
    );
    assert_eq!(metrics(r#"{"step": 4, "throughput_gb": 1}"#), ["step 4 throughput_gb=1"]);
    assert_eq!(
        metrics(r#"{"_step": 4, "_timestamp": 17.5, "x": 3}"#),
        ["step 4 _timestamp=17.5 x=3"]
    );
    assert_eq!(
        metrics(r#"{"step": 4, "level": "info", "message": "done \"well\"", "loss": 2}"#),
        ["step 4 loss=2"]
    );
    assert_eq!(metrics(r#"{"step": 4, "a": 12345678901234567890, "a": 3}"#), ["step 4 a=3"]);
    assert_eq!(metrics(r#"{"step": -1, "epoch": -1, "loss": 2}"#), ["step ~1 loss=2"]);
    assert_eq!(metrics(r#"{"step": "5", "loss": 2.5, "version": "1.2"}"#), ["step 5 loss=2.5"]);
    assert_eq!(metrics(r#"{"p\u0061th\/\ta\n\rb\ud800": 1, "step": 2}"#), ["step 2 path/_a_b=1"]);
    assert_eq!(metrics(r#"{"step": 2, "a\u0020b": 1}"#), ["step 2 a_b=1"]);
    assert_eq!(
        metrics("{\"step\": 1, \"loss\": 0.5}\r\n{\"loss\": 0.25}\r\r\n"),
        ["step 1 loss=0.5", "step ~1 loss=0.25"]
    );
}

#[test]
fn json_after_a_prefix() {
    for prefix in [
        "[rank0]: ",
        "INFO:root:",
        "INFO:mylogger:",
        "2024-01-01 12:00:00,123 INFO train: ",
        "2024-01-01 12:00:00 | INFO | train_inner | ",
        "(RayTrainWorker pid=1234) ",
        "metrics: ",
        " 10%|█         | 50/500 [00:05<00:45, 10.0it/s]",
    ] {
        let line = format!("{prefix}{{\"step\": 5, \"loss\": 0.5}}");
        assert_eq!(metrics(&line), ["step 5 loss=0.5"], "{prefix}");
    }
    assert_eq!(metrics("step 10: {'loss': 0.5}"), ["step 10 loss=0.5"]);
    assert_eq!(metrics("Epoch 3 {'loss': 0.5}"), ["step ~1 epoch 3 loss=0.5"]);
    assert_eq!(
        metrics(
            "2021-01-01 00:00:00 | INFO | train_inner | {\"epoch\": 1, \"update\": 0.5, \"loss\": \"14.9\", \"num_updates\": \"100\", \"v\": \"2\"}"
        ),
        ["step 100 epoch 1 loss=14.9 update=0.5"]
    );
}

#[test]
fn hugging_face_trainer() {
    let text = "\
{'loss': 2.3, 'grad_norm': 1.2, 'learning_rate': 5e-05, 'epoch': 0.53}
{'loss': nan, 'grad_norm': inf, 'learning_rate': 0, 'epoch': 1.0}
{'eval_loss': 1.9, 'eval_runtime': 0.5, 'eval_samples_per_second': 200.0, 'epoch': 1.0}
{'train_runtime': 12.3, 'train_samples_per_second': 81.3, 'train_loss': 2.1, 'epoch': 1.0}
";
    assert_eq!(
        metrics(text),
        [
            "step ~1 epoch 0.53 loss=2.3 grad_norm=1.2 learning_rate=5e-5",
            "step ~2 epoch 1 loss=NaN grad_norm=inf learning_rate=0",
            "step ~3 epoch 1 eval_loss=1.9 eval_runtime=0.5 eval_samples_per_second=200.0",
            "step ~4 epoch 1 train_runtime=12.3 train_samples_per_second=81.3 train_loss=2.1",
        ]
    );
    assert_eq!(
        metrics("{'loss': '2.3', 'grad_norm': 'nan', 'learning_rate': '5e-05', 'epoch': '0.53'}"),
        ["step ~1 epoch 0.53 loss=2.3 grad_norm=NaN learning_rate=5e-5"]
    );
    assert_eq!(
        metrics(
            "{'loss': tensor(2.5, device='cuda:0', grad_fn=<NllLossBackward0>), 'acc': np.float64(0.5), 'f1': array(1., dtype=float32)}"
        ),
        ["step ~1 loss=2.5 acc=0.5 f1=1.0"]
    );
    // The line overwrites a progress bar.
    let text = "\r 10%|█         | 50/500 [00:05<00:45, 10.0it/s]\r          \r{'loss': 0.2, 'epoch': 0.1}\n";
    assert_eq!(metrics(text), ["step ~50 epoch 0.1 loss=0.2"]);
}

#[test]
fn nanogpt() {
    assert_eq!(
        metrics(
            "iter 10: loss 2.3, time 12.1ms, mfu 3.4%\nstep 250: train loss 1.96, val loss 2.01\niter 0: loss 10.9, time 30ms, mfu -100.00%"
        ),
        [
            "step 10 loss=2.3 time=12.1 mfu=3.4",
            "step 250 train_loss=1.96 val_loss=2.01",
            "step 0 loss=10.9 time=30 mfu=-100.0",
        ]
    );
    assert_eq!(metrics("iter 10: loss nan, time 12.1ms"), ["step 10 loss=NaN time=12.1"]);
}

#[test]
fn megatron() {
    assert_eq!(
        metrics(
            " [2024-01-01 12:00:00] iteration      100/     500 | consumed samples:          800 | elapsed time per iteration (ms): 123.4 | learning rate: 1.500E-05 | global batch size:     8 | lm loss: 6.5E+00 | loss scale: 1.0 | grad norm: nan | number of skipped iterations:   0 | number of nan iterations:   0 |"
        ),
        [
            "step 100 consumed_samples=800 elapsed_time_per_iteration_ms=123.4 learning_rate=1.5e-5 global_batch_size=8 lm_loss=6.5 loss_scale=1.0 grad_norm=NaN number_of_skipped_iterations=0 number_of_nan_iterations=0"
        ]
    );
}

#[test]
fn keras() {
    let old = "Epoch 2/5\n\r  1/100 [..............................] - ETA: 9s - loss: 0.5 - accuracy: 0.5\u{8}\u{8}\u{8}\r100/100 [==============================] - 1s 3ms/step - loss: 0.3 - accuracy: 0.9 - val_loss: 0.2\n";
    assert_eq!(
        metrics(old),
        [
            "step 101 (1) epoch 2 loss=0.5 accuracy=0.5",
            "step 200 (100) epoch 2 loss=0.3 accuracy=0.9 val_loss=0.2"
        ]
    );
    let new = "Epoch 1/5\n\u{1b}[1m 50/100\u{1b}[0m \u{1b}[32m━━━━━━━━━━\u{1b}[0m\u{1b}[37m━━━━━━━━━━\u{1b}[0m \u{1b}[1m0s\u{1b}[0m 3ms/step - accuracy: 0.9 - loss: 0.3\n";
    assert_eq!(metrics(new), ["step 50 epoch 1 accuracy=0.9 loss=0.3"]);
    assert_eq!(
        metrics("Epoch 1: val_loss improved from inf to 0.45678, saving model to model.h5"),
        nothing()
    );
    assert_eq!(
        metrics("Epoch 00005: ReduceLROnPlateau reducing learning rate to 0.0001."),
        nothing()
    );
}

#[test]
fn tqdm() {
    assert_eq!(
        metrics("45%|████▌     | 450/1000 [00:12<00:15, 36.1it/s, loss=0.34]"),
        ["step 450 loss=0.34"]
    );
    assert_eq!(
        metrics("Epoch 3:  45%|████▌ | 450/1000 [00:12<00:15, 36.1it/s, loss=0.34, lr=1e-3]"),
        ["step 2450 (450) epoch 3 loss=0.34 lr=0.001"]
    );
    assert_eq!(metrics("450it [00:12, 36.1it/s, loss=0.34]"), ["step 450 loss=0.34"]);
    assert_eq!(
        metrics("loss: 0.342:  45%|####5     | 450/1000 [00:12<00:15,  1.2s/it]"),
        ["step 450 loss=0.342"]
    );
    assert_eq!(
        metrics("Train loss 0.342:  45%|####5     | 450/1000 [00:12<00:15,  1.2s/it]"),
        ["step 450 Train_loss=0.342"]
    );
    assert_eq!(metrics("Training:  45%|████▌ | 450/1000 [00:12<00:15, 36.1it/s]"), nothing());
}

#[test]
fn a_redrawn_bar_counts_once_for_each_step_with_its_last_values() {
    let bar = |step: u32, loss: &str| {
        format!("\r {step}%|█ | {step}/100 [00:12<00:15, 36.1it/s, loss={loss}]")
    };
    let text =
        [bar(1, "0.5"), bar(1, "0.5"), bar(2, "0.5"), bar(2, "nan"), bar(2, "nan"), bar(2, "1")]
            .concat();
    assert_eq!(metrics(&(text + "\n")), ["step 1 loss=0.5", "step 2 loss=1"]);
    // Whole lines count each time.
    assert_eq!(metrics("step=1 loss=2\nstep=1 loss=2\n").len(), 2);
    // An overwritten line without a step does not count.
    assert_eq!(
        metrics("{'loss': 0.5}\r{'loss': 0.4}\rEpoch 1 loss=2\r{'loss': 0.3}\n"),
        ["step ~1 loss=0.3"]
    );
}

#[test]
fn pytorch_examples() {
    assert_eq!(
        metrics("Train Epoch: 1 [640/60000 (1%)]\tLoss: 2.293032"),
        ["step 640 epoch 1 Loss=2.293032"]
    );
    assert_eq!(
        metrics(
            "Epoch: [0][  10/5005]\tTime  0.123 ( 0.456)\tData  0.001 ( 0.032)\tLoss 6.9e+00 (7.0e+00)\tAcc@1   0.39 (  0.55)"
        ),
        ["step 10 epoch 0 Time=0.123 Data=0.001 Loss=6.9 Acc@1=0.39"]
    );
    assert_eq!(
        metrics(
            "| epoch   1 |   200/ 2983 batches | lr 20.00 | ms/batch  5.10 | loss  6.80 | ppl   900.12"
        ),
        ["step 200 epoch 1 lr=20.0 ms/batch=5.1 loss=6.8 ppl=900.12"]
    );
    assert_eq!(metrics("[1,  2000] loss: 2.173"), ["step 2000 epoch 1 loss=2.173"]);
    assert_eq!(metrics("Epoch [1/5], Step [100/600], Loss: 2.3"), ["step 100 epoch 1 Loss=2.3"]);
}

#[test]
fn lightning() {
    assert_eq!(
        metrics(
            "Epoch 0: 100%|██████████| 100/100 [00:02<00:00, 45.67it/s, v_num=0, train_loss=0.432]"
        ),
        ["step 100 epoch 0 train_loss=0.432"]
    );
    assert_eq!(
        metrics(
            "Epoch 0/4  ━━━━━━━━━━╸━━━━ 50/100 0:00:01 • 0:00:01 45.20it/s v_num: 0.000 train_loss: 0.432"
        ),
        ["step 50 epoch 0 train_loss=0.432"]
    );
    assert_eq!(
        metrics("Validation DataLoader 0: 100%|██████████| 10/10 [00:02<00:00, 45.67it/s]"),
        nothing()
    );
}

#[test]
fn other_trainers() {
    assert_eq!(
        metrics(
            "mmengine - INFO - Epoch(train)  [1][  50/7330]  lr: 1.978e-03  eta: 1 day, 0:00:00  time: 0.5  loss: 2.0"
        ),
        ["step 50 epoch 1 lr=0.001978 time=0.5 loss=2.0"]
    );
    assert_eq!(
        metrics("Iter(train) [  50/90000]  lr: 1e-3  loss: 2.0"),
        ["step 50 lr=0.001 loss=2.0"]
    );
    assert_eq!(
        metrics(
            "[01/01 00:00:00 d2.utils.events]:  eta: 5:23:11  iter: 19  total_loss: 5.1  time: 0.39  max_mem: 3050M"
        ),
        ["step 19 total_loss=5.1 time=0.39 max_mem=3050000000"]
    );
    assert_eq!(
        metrics("Train: 3 [  50/1251 (  4%)]  Loss: 6.94 (6.94)  Time: 0.5s, 400/s  LR: 1e-6"),
        ["step 2552 (50) epoch 3 Loss=6.94 Time=0.5 LR=1e-6"]
    );
    assert_eq!(
        metrics(
            "[2023-01-01 00:00:00,000] [INFO] [logging.py:96:log_dist] [Rank 0] step=10, skipped=0, lr=[1e-05], mom=[(0.9, 0.999)]"
        ),
        ["step 10 skipped=0 lr=1e-5"]
    );
    assert_eq!(
        metrics("step:10 - actor/loss:0.1 - critic/score:2"),
        ["step 10 actor/loss=0.1 critic/score=2"]
    );
    assert_eq!(
        metrics(
            "Epoch: [0]  [  10/1251]  eta: 0:30:00  lr: 0.000001  loss: 6.9 (6.95)  max mem: 5000"
        ),
        ["step 10 epoch 0 lr=1e-6 loss=6.9 max_mem=5000"]
    );
    assert_eq!(
        metrics("epoch 001:    200 / 1000 loss=5.2, ppl=37.1, wps=1000, num_updates=200, lr=1e-5"),
        ["step 200 epoch 1 loss=5.2 ppl=37.1 wps=1000 lr=1e-5"]
    );
}

#[test]
fn pairs_on_a_line_with_a_step() {
    for (line, expected) in [
        ("step=10 loss=0.5 lr=1e-3", "step 10 loss=0.5 lr=0.001"),
        ("2024-01-01 12:00:00,123 INFO train: step 10 loss=0.5", "step 10 loss=0.5"),
        ("INFO:root:step 10 loss=0.5", "step 10 loss=0.5"),
        ("[rank0]: step 10 loss=0.5", "step 10 loss=0.5"),
        ("\u{1b}[32mstep\u{1b}[0m=\u{1b}[1;31m10\u{1b}[0m loss=0.5", "step 10 loss=0.5"),
        ("step: 10 loss: 0.5 lr: 1.5E-05", "step 10 loss=0.5 lr=1.5e-5"),
        ("step 10 loss 2.3 lr 0.001 time 12ms", "step 10 loss=2.3 lr=0.001 time=12"),
        (
            "step 10 | tokens: 1,234 | rate = 1.2k | mem: 12.3 GB | x=1,234,567.5",
            "step 10 tokens=1234 rate=1200 mem=12.3 x=1234567.5",
        ),
        ("step 10 loss=0.5,acc=0.25", "step 10 loss=0.5 acc=0.25"),
        ("step 10 (loss: 0.5, acc: 0.25)", "step 10 loss=0.5 acc=0.25"),
        ("Step 10. Loss: 0.5.", "step 10 Loss=0.5"),
        ("step = 10 ; train loss = 0.5", "step 10 train_loss=0.5"),
        ("step 10 phase=train loss=0.5 saved to disk", "step 10 loss=0.5"),
        ("step 10 train/loss=-.5 x=+3 y=nan z=-inf", "step 10 train/loss=-0.5 x=3 y=NaN z=-inf"),
        ("Finished step 10 with final loss = 0.5", "step 10 final_loss=0.5"),
        ("global step 10 batch 3/9 loss: 0.5 best so far", "step 10 loss=0.5"),
        ("step 10 time(s): 3 elapsed (ms) = 4 loss=2", "step 10 time_s=3 elapsed_ms=4 loss=2"),
        ("batch 10/200, loss: 0.5", "step 10 loss=0.5"),
        ("step 10 loss=0.5 loss=0.7", "step 10 loss=0.5"),
        ("step 10 größe=3", "step 10 größe=3"),
        ("step 10 a=99999999999999999999", r#"step 10 a=Json("99999999999999999999")"#),
        ("step 10, time per step: 5, ms/step: 7", "step 10 time_per_step=5 ms/step=7"),
        ("global_step=4 step=2 iter=1 x=1", "step 4 x=1"),
        ("{step: 10, loss: 0.5}", "step 10 loss=0.5"),
        ("step 10 loss=2.5 (avg 2.7) acc=1", "step 10 loss=2.5 acc=1"),
        ("step 10 (unclosed loss=5", "step 10 loss=5"),
        ("step 10 loss=2.5 (avg (x) 2.7) acc=1", "step 10 loss=2.5 acc=1"),
    ] {
        assert_eq!(metrics(line), [expected], "{line}");
    }
    assert_eq!(metrics("Epoch 3: val_loss=0.5 epoch=4"), ["step ~1 epoch 3 val_loss=0.5"]);
}

#[test]
fn missing_steps_are_inferred() {
    let stepless = "{'loss': 1}\n";
    let text = format!("{stepless}{stepless}step=40 loss=1\n{stepless}{stepless}");
    let steps = |last_step, text: &str| -> Vec<(u64, bool)> {
        events_after(last_step, text)
            .iter()
            .map(|event| match event {
                Event::Metrics(line) => (line.step, line.step_inferred),
                Event::Error(_) => panic!("{event:?}"),
            })
            .collect()
    };
    assert_eq!(steps(None, &text), [(1, true), (2, true), (40, false), (40, true), (40, true)]);
    assert_eq!(steps(Some(9), &text)[..3], [(10, true), (11, true), (40, false)]);
    assert_eq!(steps(Some(u64::MAX), stepless), [(u64::MAX, true)]);
}

#[test]
fn streams_have_separate_lines_but_share_steps() {
    let mut parser = Parser::new(None);
    let mut events = parser.feed(Output::Stdout, b"{'loss': ");
    events.extend(parser.feed(Output::Stderr, b"\r 5%|x| 5/100 [00:01<00:02, 3it/s, loss=2]"));
    events.extend(parser.feed(Output::Stdout, b"1}\n"));
    events.extend(parser.feed(Output::Stderr, b"\r"));
    assert_eq!(shown(&events), ["step ~1 loss=1"]);
    events.extend(parser.feed(Output::Stderr, b"6"));
    events.extend(parser.feed(Output::Stdout, b"{'loss': 3}"));
    events.extend(parser.finish());
    assert_eq!(shown(&events), ["step ~1 loss=1", "step ~5 loss=3", "step 5 loss=2"]);
    assert_eq!(parser.finish(), []);
}
