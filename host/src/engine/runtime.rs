//! The engine, the compiled component, and the ticker that bounds how long it may run.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use wasmtime::component::Linker;
use wasmtime::{Config, Engine, EngineWeak};

use super::bindings::ExportsPre;
use super::cache;
use super::limits::MEMORY;
use crate::services::{self, StoreData};
use crate::{Error, Result};

/// The logging component, as `cargo xtask component` builds it.
pub const COMPONENT: &[u8] = include_bytes!("../../component/model-foundry-logging.wasm");

/// How often the ticker ticks.
const TICK: Duration = Duration::from_millis(100);

/// The runtime that everything in the process uses that is opened without another one.
static SHARED: OnceLock<Runtime> = OnceLock::new();

/// Options of a [`Runtime`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RuntimeOptions {
    /// The folder in which compiled code is cached between processes; none disables the cache. Default:
    /// `model-foundry` in the user's cache folder. A folder that other users can write is not used.
    pub cache: Option<PathBuf>,
    /// Catch the component's traps by signals. Without signals the component runs about a tenth slower, and leaves
    /// SIGSEGV and SIGILL to other handlers in the process. Default: true.
    pub signals: bool,
    /// How long the component may compute in one call; time in its imports does not count. It is stopped within a
    /// tenth of a second after that. Default: a minute.
    pub longest_call: Duration,
    /// Compile on several threads. A process that may have been forked must not. Default: true.
    pub parallel_compilation: bool,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            cache: default_cache(),
            signals: true,
            longest_call: Duration::from_secs(60),
            parallel_compilation: true,
        }
    }
}

/// `$XDG_CACHE_HOME/model-foundry`, or that in the home folder.
fn default_cache() -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("model-foundry"))
}

/// A compiled logging component, from which any number of runs create instances. A clone is the same component.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) pre: Arc<ExportsPre<StoreData>>,
    pub(crate) ticks: Arc<AtomicU64>,
    /// How many ticks a call may last.
    pub(crate) longest_call: u64,
}

impl Runtime {
    /// Make this the process's shared runtime, which is used when no other is given. Returns false if there is one
    /// already.
    pub fn share(self) -> bool {
        SHARED.set(self).is_ok()
    }

    /// The engine, for tests of its settings.
    #[doc(hidden)]
    pub fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    /// Start the ticker again in a process that was forked from the one that made this runtime: a forked process has
    /// only the thread that forked.
    ///
    /// # Errors
    ///
    /// [`Error::Component`] if no thread can be started. Then nothing ends a call that computes forever.
    pub fn restart_ticker(&self) -> Result<()> {
        start_ticker(self.pre.engine().weak(), self.ticks.clone())
    }

    /// The process's shared runtime, with the component that is built into this library. It is made on first use.
    ///
    /// # Errors
    ///
    /// [`Error::Component`] if the engine cannot be set up on this machine.
    pub fn shared() -> Result<Self> {
        if let Some(runtime) = SHARED.get() {
            return Ok(runtime.clone());
        }
        let runtime = Self::new(COMPONENT, &RuntimeOptions::default())?;
        Ok(SHARED.get_or_init(|| runtime).clone())
    }

    /// A runtime for a component that implements the world `model-foundry:logging/logging`.
    ///
    /// # Errors
    ///
    /// [`Error::Component`] if the bytes are not a component, or one of another world.
    pub fn new(component: &[u8], options: &RuntimeOptions) -> Result<Self> {
        let failed = |error: wasmtime::Error| {
            Error::Component(format!("cannot set up the WebAssembly engine: {error:#}"))
        };
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            // The world is synchronous, and calls cost a third without it.
            .concurrency_support(false)
            .epoch_interruption(true)
            .parallel_compilation(options.parallel_compilation)
            // A memory image is a file to the kernel, and cannot be created under a low `ulimit -f`.
            .memory_init_cow(false);
        if options.signals && address_space_is_ample() {
            // Everything that 32 bits can address, and what an instruction's offset can reach beyond it: accesses need no
            // check then.
            config.memory_reservation(4 << 30).memory_guard_size(32 << 20);
        } else {
            config
                .memory_reservation(MEMORY as u64)
                .memory_guard_size(64 << 10)
                .memory_reservation_for_growth(0);
        }
        if !options.signals {
            config.signals_based_traps(false);
            #[expect(unsafe_code, reason = "the only way to set these flags")]
            // SAFETY: the two mitigations concern untrusted code that reads this process's memory by speculation;
            // wasmtime requires them to be off if signals are.
            unsafe {
                config.cranelift_flag_set("enable_heap_access_spectre_mitigation", "false");
                config.cranelift_flag_set("enable_table_access_spectre_mitigation", "false");
            }
        }
        let engine = Engine::new(&config).map_err(failed)?;
        let component =
            cache::component(&engine, options.cache.as_deref(), component).map_err(|error| {
                Error::Component(format!("not a component that can be run: {error:#}"))
            })?;
        let mut linker = Linker::new(&engine);
        services::add_to_linker(&mut linker).map_err(failed)?;
        let pre =
            linker.instantiate_pre(&component).and_then(ExportsPre::new).map_err(|error| {
                Error::Component(format!(
                    "the component does not implement the world `model-foundry:logging/logging`: {error:#}"
                ))
            })?;
        let ticks = Arc::new(AtomicU64::new(0));
        start_ticker(engine.weak(), ticks.clone())?;
        let longest_call = (options.longest_call.as_millis() / TICK.as_millis()) as u64;
        Ok(Self { pre: Arc::new(pre), ticks, longest_call })
    }
}

/// Whether a few GiB of addresses can be reserved for each instance: not under `ulimit -v`, which login nodes set.
fn address_space_is_ample() -> bool {
    rustix::process::getrlimit(rustix::process::Resource::As).current.is_none()
}

/// Tick as long as the engine is in use.
fn start_ticker(engine: EngineWeak, ticks: Arc<AtomicU64>) -> Result<()> {
    let ticker = move || {
        while let Some(engine) = engine.upgrade() {
            ticks.fetch_add(1, Ordering::Relaxed);
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new()
        .name("model-foundry-ticker".into())
        .stack_size(64 << 10)
        .spawn(ticker)
        .map(drop)
        .map_err(|error| Error::Component(format!("cannot start a thread: {error}")))
}
