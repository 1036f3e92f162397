//! A cache of compiled components on the disk.
//!
//! wasmtime's own cache compresses its entries, and decompression takes two thirds of a warm start (12 of 18 ms
//! for this component). This cache stores the compiled code in a file that is mapped into memory unmodified.
//! Mapped code is trusted, so it must be ours: the folder belongs to this user and no one else can write to it,
//! the file name identifies component, engine and settings, and a checksum in a second file detects damage.

use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::folder::replace::replace;

/// How many components are retained: a few versions of ours, and some from other authors.
const MAX_COMPONENTS: usize = 16;

/// Loads a component from the cache in `folder`, or compiles it and adds it to the cache.
pub(crate) fn component(
    engine: &Engine,
    folder: Option<&Path>,
    bytes: &[u8],
) -> wasmtime::Result<Component> {
    // Without a folder of our own, every start compiles the component.
    let Some(entry) = folder.and_then(|folder| Entry::of(engine, folder, bytes).ok()) else {
        return Component::new(engine, bytes);
    };
    if let Some(component) = entry.load(engine) {
        return Ok(component);
    }
    let compiled = engine.precompile_component(bytes)?;
    if entry.store(&compiled).is_ok()
        && let Some(component) = entry.load(engine)
    {
        return Ok(component);
    }
    Component::new(engine, bytes)
}

/// The files of one component in the cache.
struct Entry {
    folder: PathBuf,
    name: String,
}

impl Entry {
    fn of(engine: &Engine, folder: &Path, bytes: &[u8]) -> io::Result<Self> {
        let folder = own_folder(folder)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        bytes.hash(&mut hasher);
        let name = format!("{:016x}-{}", hasher.finish(), env!("CARGO_PKG_VERSION"));
        Ok(Self { folder, name })
    }

    fn code_name(&self) -> String {
        format!("{}.cwasm", self.name)
    }

    fn checksum_name(&self) -> String {
        format!("{}.crc32", self.name)
    }

    fn load(&self, engine: &Engine) -> Option<Component> {
        let code = self.folder.join(self.code_name());
        let expected = fs::read_to_string(self.folder.join(self.checksum_name())).ok()?;
        if format!("{:08x}", checksum_of(&code).ok()?) != expected.trim() {
            return None;
        }
        #[expect(unsafe_code, reason = "wasmtime has no safe function that loads compiled code")]
        // SAFETY: this process, or an earlier one of the same user, wrote the file with the compiler of this
        // engine: only this user can write to the folder, the name identifies component and settings, and the
        // checksum has just been verified. wasmtime itself checks its version and the processor's features.
        let component = unsafe { Component::deserialize_file(engine, &code) };
        component.ok()
    }

    /// Writes code and checksum, each completely or not at all.
    fn store(&self, compiled: &[u8]) -> io::Result<()> {
        let dir = Dir::open_ambient_dir(&self.folder, ambient_authority())?;
        replace(&dir, &self.code_name(), compiled)?;
        let checksum = format!("{:08x}\n", crc32fast::hash(compiled));
        replace(&dir, &self.checksum_name(), checksum.as_bytes())?;
        self.prune();
        Ok(())
    }

    /// Removes the oldest components. A file that cannot be removed does no harm.
    fn prune(&self) {
        let mut stored: Vec<_> = fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "cwasm"))
            .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
            .collect();
        stored.sort();
        for (_, path) in stored.iter().rev().skip(MAX_COMPONENTS) {
            let _ = fs::remove_file(path.with_extension("crc32"));
            let _ = fs::remove_file(path);
        }
    }
}

/// The folder, which is created if it is missing. An error if it belongs to another user or if others can write
/// to it.
fn own_folder(folder: &Path) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let metadata = fs::metadata(folder)?;
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user || metadata.mode() & 0o022 != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(folder.to_owned())
}

fn checksum_of(path: &Path) -> io::Result<u32> {
    let mut file = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut chunk = vec![0; 1 << 18];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hasher.finalize()),
            read => hasher.update(&chunk[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// The smallest component.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_stored_component_is_loaded_and_a_damaged_one_is_compiled_again() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let entry = Entry::of(&engine, folder.path(), EMPTY).unwrap();
        assert!(entry.load(&engine).is_none(), "the cache is empty");
        component(&engine, Some(folder.path()), EMPTY).unwrap();
        assert!(entry.load(&engine).is_some());

        let file = entry.folder.join(entry.code_name());
        let mut code = fs::read(&file).unwrap();
        let middle = code.len() / 2;
        code[middle] ^= 1;
        fs::write(&file, code).unwrap();
        assert!(entry.load(&engine).is_none(), "damaged code is never run");
        component(&engine, Some(folder.path()), EMPTY).unwrap();
        assert!(entry.load(&engine).is_some(), "it was compiled again");
    }

    #[test]
    fn the_number_of_stored_components_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..MAX_COMPONENTS + 5 {
            fs::write(folder.path().join(format!("{number:02}.cwasm")), "").unwrap();
        }
        component(&Engine::default(), Some(folder.path()), EMPTY).unwrap();
        let left = fs::read_dir(folder.path()).unwrap().flatten();
        let left = left.filter(|entry| entry.path().extension().unwrap() == "cwasm").count();
        assert_eq!(left, MAX_COMPONENTS);
    }

    #[test]
    fn a_folder_that_others_can_write_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Entry::of(&Engine::default(), folder.path(), EMPTY).is_err());
        component(&Engine::default(), Some(folder.path()), EMPTY).unwrap();
    }
}
