//! NVML's errors: whether a session or a device can still be used, and the message for the user.

use nvml_wrapper::error::NvmlError;

/// Whether the driver lacks the function, at all or for this device.
pub(super) fn is_missing(error: &NvmlError) -> bool {
    /// NVML_ERROR_ARGUMENT_VERSION_MISMATCH: the function supports only older structures.
    const VERSION_MISMATCH: u32 = 25;
    matches!(
        error,
        NvmlError::FailedToLoadSymbol(_)
            | NvmlError::FunctionNotFound
            | NvmlError::NotSupported
            | NvmlError::UnexpectedVariant(VERSION_MISMATCH)
    )
}

/// Whether the session has ended, so that no device will answer.
pub(super) fn ends_session(error: &NvmlError) -> bool {
    matches!(error, NvmlError::Uninitialized | NvmlError::DriverNotLoaded)
}

/// Whether the device will not answer again in this session.
pub(super) fn ends_device(error: &NvmlError) -> bool {
    ends_session(error) || matches!(error, NvmlError::GpuLost | NvmlError::ResetRequired)
}

/// The message for a driver that refuses.
pub(super) fn of_driver(error: &NvmlError) -> String {
    match error {
        NvmlError::DriverNotLoaded => {
            "no NVIDIA driver: its kernel module is not loaded".to_owned()
        }
        NvmlError::NoPermission => {
            "NVML: no permission: this user may not use the NVIDIA driver".to_owned()
        }
        NvmlError::LibRmVersionMismatch => {
            "NVML: the library and the kernel module have different versions; reboot to fix this"
                .to_owned()
        }
        NvmlError::Uninitialized => "NVML: the driver ended the session".to_owned(),
        NvmlError::UnexpectedVariant(code) => format!("NVML: error {code}"),
        error => format!("NVML: {error}"),
    }
}

/// The message for a device that does not answer, to be printed after its name.
pub(super) fn of_device(error: &NvmlError) -> String {
    match error {
        NvmlError::NoPermission => "no permission: this user may not query it".to_owned(),
        NvmlError::NotSupported => "it does not report its memory".to_owned(),
        NvmlError::GpuLost => "lost: it fell off the bus or does not answer".to_owned(),
        NvmlError::ResetRequired => "lost: it must be reset before it can be used again".to_owned(),
        NvmlError::UnexpectedVariant(code) => format!("NVML error {code}"),
        error => error.to_string(),
    }
}
