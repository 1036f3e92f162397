"""A script as trainers write it for trackio. The test replaces the import."""

import random

import trackio

for seed in range(2):
    trackio.init(
        project="tiny-lm",
        name=f"seed-{seed}",
        group="seeds",
        space_id="team/space",
        config={"epochs": 3, "learning_rate": 0.001, "seed": seed},
        auto_log_gpu=False,
    )
    random.seed(seed)
    for epoch in range(3):
        loss = random.uniform(0.2, 1.0)
        trackio.log({"train_loss": loss, "val": {"acc": 0.5 + epoch / 10}, "epoch": epoch})
        if loss > 0.1:
            trackio.alert(title="Loss", text=f"{loss}", level=trackio.AlertLevel.WARN)
    trackio.log({"table": trackio.Table(columns=["a"], data=[[1]])}, step=10)
    trackio.finish()
