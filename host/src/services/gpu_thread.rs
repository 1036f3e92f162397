//! The GPUs, polled by a thread of its own: a driver that hangs must not stop the training.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use model_foundry_types::GpuInventory;

use super::gpu::Gpu;

type Answer = Result<GpuInventory, String>;

/// Polls the GPUs, and waits for a bounded time.
pub(crate) struct GpuThread {
    library: Option<PathBuf>,
    /// Started at the first poll.
    thread: Option<Thread>,
}

struct Thread {
    polls: Sender<Vec<u32>>,
    answers: Receiver<Answer>,
    /// A poll has not been answered.
    is_waiting: bool,
}

impl GpuThread {
    /// Does not load anything yet. `library` is loaded in place of the system's libnvidia-ml.
    pub(crate) fn new(library: Option<PathBuf>) -> Self {
        Self { library, thread: None }
    }

    /// As [`Gpu::devices`], within a bounded time. While a driver does not answer, this returns at once.
    pub(crate) fn devices(&mut self, watched: &[u32], patience: Duration) -> Answer {
        let hangs = || Err("NVML: the driver does not answer".to_owned());
        if self.thread.is_none() {
            self.thread = Thread::start(self.library.clone());
        }
        let Some(thread) = &mut self.thread else {
            return Err("no thread can be started to ask the driver".to_owned());
        };
        if thread.is_waiting {
            // The answer to an earlier poll is out of date.
            if thread.answers.try_recv().is_err() {
                return hangs();
            }
            thread.is_waiting = false;
        }
        if thread.polls.send(watched.to_vec()).is_err() {
            self.thread = None;
            return Err("the thread that asks the driver has ended".to_owned());
        }
        match thread.answers.recv_timeout(patience) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                thread.is_waiting = true;
                hangs()
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.thread = None;
                Err("the thread that asks the driver has ended".to_owned())
            }
        }
    }
}

impl Thread {
    fn start(library: Option<PathBuf>) -> Option<Self> {
        let (polls, wanted) = channel::<Vec<u32>>();
        let (answer, answers) = channel();
        let poll = move || {
            let mut gpu = Gpu::new(library);
            for watched in wanted {
                if answer.send(gpu.devices(&watched)).is_err() {
                    break;
                }
            }
        };
        std::thread::Builder::new().name("model-foundry-gpu".into()).spawn(poll).ok()?;
        Some(Self { polls, answers, is_waiting: false })
    }
}
