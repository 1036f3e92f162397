"""A script as trainers write it for wandb. The test replaces the import."""

import argparse
import math
import os
import random

import wandb

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=3e-4)
parser.add_argument("--epochs", type=int, default=2)
args = parser.parse_args()

wandb.login()
run = wandb.init(
    project="tiny-lm",
    entity="team",
    name="baseline",
    config=args,
    tags=["first", "small"],
    notes="what the defaults do",
    settings=wandb.Settings(start_method="thread"),
)
wandb.config.update({"seed": 7, "model": {"dim": 8}})
wandb.define_metric("val/*", step_metric="epoch")
wandb.watch(None, log="all")
random.seed(wandb.config.seed)
best = math.inf
for epoch in range(wandb.config.epochs):
    for batch in range(3):
        loss = 2.0 / (1 + epoch * 3 + batch)
        wandb.log({"train/loss": loss, "lr": wandb.config["lr"], "epoch": epoch + batch / 3})
    val = loss + 0.1
    wandb.log({"val/loss": val, "predictions": wandb.Table(columns=["in", "out"], data=[[1, 2]])}, commit=False)
    wandb.log({"weights": wandb.Histogram([0.1, 0.2, 0.4])})
    if val < best:
        best = val
        wandb.run.summary["best_val_loss"] = best
        path = os.path.join(wandb.run.dir, "model.txt")
        with open(path, "w") as file:
            file.write("weights")
        wandb.save(path)
        artifact = wandb.Artifact("model", type="model")
        artifact.add_file(path)
        run.log_artifact(artifact)
if best > 0.1:
    wandb.alert(title="High loss", text=f"{best:.3f}", level=wandb.AlertLevel.WARN, wait_duration=300)
wandb.summary["final"] = run.summary["val/loss"]
assert dict(wandb.config)["epochs"] == 2 and "lr" in wandb.config
wandb.finish()

with wandb.init(project="tiny-lm", config={"lr": 1e-3}, reinit=True) as second:
    for step in range(0, 30, 10):
        second.log({"loss": 1.0 / (step + 1)}, step=step)
assert wandb.run is None
