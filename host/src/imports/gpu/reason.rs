//! NVML's errors: what they end, and the sentences that users read.

use nvml_wrapper::error::NvmlError;

/// Whether this driver has no such function, or not for this device.
pub(super) fn is_missing(error: &NvmlError) -> bool {
    /// NVML_ERROR_ARGUMENT_VERSION_MISMATCH: the function knows older structures only.
    const VERSION_MISMATCH: u32 = 25;
    matches!(
        error,
        NvmlError::FailedToLoadSymbol(_)
            | NvmlError::FunctionNotFound
            | NvmlError::NotSupported
            | NvmlError::UnexpectedVariant(VERSION_MISMATCH)
    )
}

/// Whether no device will answer in this session.
pub(super) fn ends_session(error: &NvmlError) -> bool {
    matches!(error, NvmlError::Uninitialized | NvmlError::DriverNotLoaded)
}

/// Whether the device will not answer in this session.
pub(super) fn ends_device(error: &NvmlError) -> bool {
    ends_session(error) || matches!(error, NvmlError::GpuLost | NvmlError::ResetRequired)
}

/// The sentence for a driver that refuses.
pub(super) fn of_driver(error: &NvmlError) -> String {
    match error {
        NvmlError::DriverNotLoaded => {
            "no NVIDIA driver: its kernel module is not loaded".to_owned()
        }
        NvmlError::NoPermission => {
            "NVML: no permission: this user may not talk to the NVIDIA driver".to_owned()
        }
        NvmlError::LibRmVersionMismatch => {
            "NVML: the library and the kernel module are of different versions; a reboot mends that"
                .to_owned()
        }
        NvmlError::Uninitialized => "NVML: the driver ended the session".to_owned(),
        NvmlError::UnexpectedVariant(code) => format!("NVML: error {code}"),
        error => format!("NVML: {error}"),
    }
}

/// What follows the device in the sentence for one that does not answer.
pub(super) fn of_device(error: &NvmlError) -> String {
    match error {
        NvmlError::NoPermission => "no permission: this user may not ask it".to_owned(),
        NvmlError::NotSupported => "it does not tell its memory".to_owned(),
        NvmlError::GpuLost => "lost: it fell off the bus or does not answer".to_owned(),
        NvmlError::ResetRequired => "lost: it must be reset before it can be used again".to_owned(),
        NvmlError::UnexpectedVariant(code) => format!("NVML error {code}"),
        error => error.to_string(),
    }
}
