//! Replacing a file's content atomically.

use std::io::{self, Write as _};

use std::os::unix::fs::PermissionsExt as _;

use cap_std::fs::{Dir, Permissions};

/// Between a file's name and the process's id in the name of a temporary file.
const SUFFIX: &str = ".model-foundry-new-";

/// The file that a temporary file of this name was to replace; none if it is not one.
pub(crate) fn replaced_by(temporary: &str) -> Option<&str> {
    let (name, process) = temporary.strip_prefix('.')?.rsplit_once(SUFFIX)?;
    let is_id = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
    is_id.then_some(name)
}

/// Replace a file's content: readers see the old content or the new, and a crash leaves one of them.
pub(crate) fn replace(dir: &Dir, name: &str, content: &[u8]) -> io::Result<()> {
    replace_with(dir, name, |file| file.write_all(content))
}

/// As [`replace`], with a file that only this user may read or write.
pub(crate) fn replace_privately(dir: &Dir, name: &str, content: &[u8]) -> io::Result<()> {
    replace_with(dir, name, |file| {
        file.set_permissions(Permissions::from_std(std::fs::Permissions::from_mode(0o600)))?;
        file.write_all(content)
    })
}

/// As [`replace`], with a function that writes the content.
pub(crate) fn replace_with(
    dir: &Dir,
    name: &str,
    write: impl FnOnce(&mut cap_std::fs::File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = format!(".{name}{SUFFIX}{}", std::process::id());
    let replaced = (|| {
        let mut file = dir.create(&temporary)?;
        write(&mut file)?;
        file.sync_data()?;
        dir.rename(&temporary, dir, name)
    })();
    if replaced.is_err() {
        let _ = dir.remove_file(&temporary);
    }
    replaced
}
