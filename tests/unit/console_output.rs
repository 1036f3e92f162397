//! The output of trainers, parsed through the component: one sample for each framework. The tests of the logic
//! itself have the rest.

use anyhow::Result;
use model_foundry::{Event, Field, MetricsLine, Output, OutputParser, Traceback, Value};
use model_foundry_tests::Experiment;

/// Each event as a line of text: `step 210 (10) epoch 2 loss=2.5`, with `~` before an inferred step and the position
/// within the epoch in parentheses.
fn shown(events: &[Event]) -> Vec<String> {
    let show = |event: &Event| match event {
        Event::Metrics(MetricsLine { step, step_inferred, epoch_step, epoch, metrics, .. }) => {
            let mut text = format!("step {}{step}", if *step_inferred { "~" } else { "" });
            if let Some(step) = epoch_step {
                text += &format!(" ({step})");
            }
            if let Some(epoch) = epoch {
                text += &format!(" epoch {epoch}");
            }
            for Field { name, value } in metrics {
                text += &match value {
                    Value::Integer(integer) => format!(" {name}={integer}"),
                    Value::Float(float) => format!(" {name}={float:?}"),
                    other => format!(" {name}={other:?}"),
                };
            }
            text
        }
        Event::Error(error) => format!("{}: {}", error.error_type, error.error_message),
    };
    events.iter().map(show).collect()
}

/// The events in pieces of text that a command wrote to its standard error.
fn of_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Event>> {
    let mut parser = OutputParser::new(None)?;
    let mut events = Vec::new();
    for piece in pieces {
        events.extend(parser.feed(Output::Stderr, piece)?);
    }
    events.extend(parser.finish()?);
    Ok(events)
}

fn understood(text: &str) -> Result<Vec<String>> {
    Ok(shown(&of_pieces([text.as_bytes()])?))
}

#[test]
fn json_lines() -> Result<()> {
    assert_eq!(
        understood(
            "{\"step\": 10, \"epoch\": 1, \"loss\": 2.5, \"tokens\": 8500, \"ok\": true}\n"
        )?,
        ["step 10 epoch 1 loss=2.5 tokens=8500"]
    );
    Ok(())
}

#[test]
fn hugging_face_trainer() -> Result<()> {
    let text = "\
{'loss': 2.3, 'grad_norm': 1.2, 'learning_rate': 5e-05, 'epoch': 0.53}
{'loss': nan, 'grad_norm': inf, 'learning_rate': 0, 'epoch': 1.0}
";
    assert_eq!(
        understood(text)?,
        [
            "step ~1 epoch 0.53 loss=2.3 grad_norm=1.2 learning_rate=5e-5",
            "step ~2 epoch 1 loss=NaN grad_norm=inf learning_rate=0",
        ]
    );
    Ok(())
}

#[test]
fn nanogpt() -> Result<()> {
    let text =
        "iter 10: loss 2.3, time 12.1ms, mfu 3.4%\nstep 250: train loss 1.96, val loss 2.01\n";
    assert_eq!(
        understood(text)?,
        ["step 10 loss=2.3 time=12.1 mfu=3.4", "step 250 train_loss=1.96 val_loss=2.01"]
    );
    Ok(())
}

#[test]
fn tqdm() -> Result<()> {
    let text = "\rEpoch 3:  45%|████▌     | 450/1000 [00:12<00:15, 36.1it/s, loss=0.34]\n";
    assert_eq!(understood(text)?, ["step 2450 (450) epoch 3 loss=0.34"]);
    Ok(())
}

#[test]
fn keras() -> Result<()> {
    let text = "Epoch 2/5\n\r100/100 [=====] - 1s 3ms/step - loss: 0.3 - accuracy: 0.9\n";
    assert_eq!(understood(text)?, ["step 200 (100) epoch 2 loss=0.3 accuracy=0.9"]);
    Ok(())
}

#[test]
fn lightning() -> Result<()> {
    let text =
        "Epoch 0: 100%|██████████| 100/100 [00:02<00:00, 45.67it/s, v_num=0, train_loss=0.432]\n";
    assert_eq!(understood(text)?, ["step 100 epoch 0 train_loss=0.432"]);
    Ok(())
}

#[test]
fn pytorch_examples() -> Result<()> {
    assert_eq!(
        understood("Train Epoch: 1 [640/60000 (1%)]\tLoss: 2.293032\n")?,
        ["step 640 epoch 1 Loss=2.293032"]
    );
    Ok(())
}

#[test]
fn megatron() -> Result<()> {
    assert_eq!(
        understood(
            " iteration      100/     500 | learning rate: 1.500E-05 | lm loss: 6.5E+00 |\n"
        )?,
        ["step 100 learning_rate=1.5e-5 lm_loss=6.5"]
    );
    Ok(())
}

#[test]
fn names_and_values_beside_a_step() -> Result<()> {
    assert_eq!(
        understood("[rank0]: \u{1b}[32mstep\u{1b}[0m=10 loss=0.5 lr=1e-3\n")?,
        ["step 10 loss=0.5 lr=0.001"]
    );
    Ok(())
}

const TRACEBACK: &str = "\
Traceback (most recent call last):
  File \"train.py\", line 10, in <module>
    main()
  File \"train.py\", line 5, in main
    raise ValueError(\"step=3 loss=4\")
ValueError: bad value: 3";

#[test]
fn a_python_traceback_is_one_error() -> Result<()> {
    let events = of_pieces([format!("{TRACEBACK}\n").as_bytes()])?;
    let expected = Event::Error(Traceback {
        error_type: "ValueError".into(),
        error_message: "bad value: 3".into(),
        text: TRACEBACK.into(),
    });
    assert_eq!(events, [expected]);
    Ok(())
}

#[test]
fn a_rust_panic_is_an_error() -> Result<()> {
    let text = "thread 'main' panicked at src/main.rs:1:2:\nno luck\nstack backtrace:\n   0: f\n";
    assert_eq!(understood(text)?, ["panic: no luck"]);
    Ok(())
}

#[test]
fn it_never_invents() -> Result<()> {
    let text = "\
epoch of time: 3 people
Loading checkpoint shards: 100%|██████████| 2/2 [00:05<00:00,  2.50s/it]
Downloading: 45%|███ | 4.5M/10M [00:01<00:02, 3MB/s]
Saving model checkpoint to ./out/checkpoint-500
Epoch 3: val_loss did not improve from 0.5
batch_size: 32
{'lr': 0.1, 'batch_size': 32, 'epochs': 10}
{\"step\": 1, \"loss\": 0.5
https://example.com:8080/run?step=10&loss=0.5
python train.py --step=10 --lr=0.1 --loss=3
| N/A   32C    P0    70W / 700W |   1234MiB / 81559MiB |      0%      Default |
UserWarning: lr_scheduler.step() called before optimizer.step(): loss 3
nan nan nan
";
    assert_eq!(understood(text)?, [""; 0]);
    Ok(())
}

#[test]
fn cut_at_every_byte_it_understands_the_same() -> Result<()> {
    let text = format!(
        "{{'loss': 2.3, 'grad_norm': nan, 'epoch': 0.53}}\r\n\
         \u{1b}[32miter 10: loss 2.3, time 12.1ms\u{1b}[0m\n\
         \r 45%|████▌     | 450/1000 [00:12<00:15, 36.1it/s, loss=0.34]\n\
         {{\"step\": 3, \"größe\": 1}}\n{TRACEBACK}\nstep=4 loss=1"
    );
    let bytes = text.as_bytes();
    let whole = of_pieces([bytes])?;
    assert_eq!(
        shown(&whole),
        [
            "step ~1 epoch 0.53 loss=2.3 grad_norm=NaN",
            "step 10 loss=2.3 time=12.1",
            "step 450 loss=0.34",
            "step 3 größe=1",
            "ValueError: bad value: 3",
            "step 4 loss=1",
        ]
    );
    // Compared as text, because NaN does not equal itself.
    let whole = format!("{whole:?}");
    assert_eq!(format!("{:?}", of_pieces(bytes.chunks(1))?), whole);
    for cut in 0..bytes.len() {
        let pieces = of_pieces([&bytes[..cut], &bytes[cut..]])?;
        assert_eq!(format!("{pieces:?}"), whole, "cut at {cut}");
    }
    Ok(())
}

#[test]
fn bytes_of_any_kind_are_taken() -> Result<()> {
    let every: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    assert_eq!(of_pieces([&every[..]])?, []);
    assert_eq!(
        shown(&of_pieces([&b"step=1 loss=0.5 \xf0\x9f acc=1\n\xff\xfe\n"[..]])?),
        ["step 1 loss=0.5 acc=1"]
    );
    Ok(())
}

#[test]
fn inferred_steps_count_on_from_where_a_run_was() -> Result<()> {
    let mut parser = OutputParser::new(Some(41))?;
    let events = parser.feed(Output::Stdout, b"{'loss': 2.5}\n{'loss': 2.25}\n")?;
    assert_eq!(shown(&events), ["step ~42 loss=2.5", "step ~43 loss=2.25"]);
    Ok(())
}

#[test]
fn what_was_understood_is_logged() -> Result<()> {
    let experiment = Experiment::new();
    let run = experiment.run();
    let text = format!("step=4 loss=1\n{{'loss': 0.5}}\n{TRACEBACK}\n");

    for event in of_pieces([text.as_bytes()])? {
        run.log_event(&event)?;
    }
    run.write_output(Output::Stdout, text.as_bytes())?;
    run.finish_output()?;

    let metrics = experiment.records("metrics.jsonl");
    assert_eq!((&metrics[0]["step"], &metrics[0]["metrics"]["loss"]), (&4.into(), &1.into()));
    assert_eq!(metrics[1]["step_inferred"], true);
    assert_eq!(experiment.record("errors.jsonl")["traceback"], TRACEBACK);
    assert_eq!(experiment.text("console.log"), text);
    Ok(())
}
