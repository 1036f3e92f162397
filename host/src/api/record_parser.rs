//! Records given as JSON text.

use model_foundry_types::GivenRecord;

use crate::Result;
use crate::engine::runtime::Runtime;
use crate::engine::sandbox::Sandbox;
use crate::services::HostServices;
use crate::services::clocks::Clock;
use crate::services::files::Files;

/// Parses records given as JSON text, through the component.
pub struct RecordParser {
    sandbox: Sandbox,
}

impl std::fmt::Debug for RecordParser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordParser").finish_non_exhaustive()
    }
}

impl RecordParser {
    /// Start a parser.
    ///
    /// # Errors
    ///
    /// [`Error::Component`](crate::Error::Component) if the component cannot be started.
    pub fn new() -> Result<Self> {
        let services = HostServices::new(Files::nowhere(), Clock::System);
        Ok(Self { sandbox: Sandbox::start(&Runtime::shared()?, services)? })
    }

    /// Parse one record: the metrics of a step, the summary of an epoch, a message, or an error.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) with one sentence that says what is wrong.
    pub fn parse(&mut self, line: &str) -> Result<GivenRecord> {
        let parsed = self
            .sandbox
            .call(|guest, store| guest.model_foundry_logging_records().call_parse(store, line))?;
        Ok(parsed?)
    }
}
