//! Replacing a file's content atomically.

use std::io::{self, Write as _};

use cap_std::fs::Dir;

/// Replace a file's content: readers see the old content or the new, and a crash leaves one of them.
pub(crate) fn replace(dir: &Dir, name: &str, content: &[u8]) -> io::Result<()> {
    replace_with(dir, name, |file| file.write_all(content))
}

/// As [`replace`], with a function that writes the content.
pub(crate) fn replace_with(
    dir: &Dir,
    name: &str,
    write: impl FnOnce(&mut cap_std::fs::File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = format!("{name}.new-{}", std::process::id());
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
