//! The import `model-foundry:host/run-files`. The table of run files says what may be done with a file, whatever the
//! component asks for.

use model_foundry_types::{Part, StorageError};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmStr};

use super::StoreData;
use super::files::Files;
use crate::folder::run_files::{Content, FileId};

type Store<'a> = StoreContextMut<'a, StoreData>;

/// Link the import.
pub(super) fn add_to_linker(linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("model-foundry:host/run-files@0.1.0")?;
    instance.func_wrap("open", |store: Store<'_>, (name,): (WasmStr,)| {
        let file = FileId::named(&name.to_str(&store)?);
        Ok((file.map(FileId::number).ok_or(StorageError::NotFound),))
    })?;
    // The lines are written directly from the component's memory.
    instance.func_wrap(
        "append",
        |store: Store<'_>, (file, lines, sync): (u32, WasmStr, bool)| {
            let lines = lines.to_str(&store)?;
            let appended = any_file(store.data(), file, |files, file| match file.get().content {
                // Part of a line would run into the next record.
                Content::Lines if !lines.ends_with('\n') => {
                    Err(refused("only whole lines can be appended"))
                }
                Content::Lines => files.append(file, lines.as_bytes(), sync),
                other => Err(refused(other.only())),
            })?;
            Ok((appended,))
        },
    )?;
    instance.func_wrap("append-bytes", |store: Store<'_>, (file, bytes): (u32, Vec<u8>)| {
        let appended = any_file(store.data(), file, |files, file| match file.get().content {
            Content::Copy(_) => files.append_bytes(file, &bytes),
            other => Err(refused(other.only())),
        })?;
        Ok((appended,))
    })?;
    instance.func_wrap(
        "read",
        |store: Store<'_>, (file, part, offset, length): (u32, Part, u64, u32)| {
            Ok((any_file(store.data(), file, |files, file| {
                files.read(file, part, offset, length)
            })?,))
        },
    )?;
    instance.func_wrap("size", |store: Store<'_>, (file, part): (u32, Part)| {
        Ok((any_file(store.data(), file, |files, file| files.size(file, part))?,))
    })?;
    instance.func_wrap("parts", |store: Store<'_>, (file,): (u32,)| {
        Ok((any_file(store.data(), file, |files, file| files.parts(file))?,))
    })?;
    instance.func_wrap(
        "rotate",
        |store: Store<'_>, (file, at_size, retained_files): (u32, u64, u32)| {
            Ok((any_file(store.data(), file, |files, file| {
                if !file.get().rotates {
                    return Err(refused("this file is never rotated"));
                }
                files.rotate(file, at_size, retained_files)
            })?,))
        },
    )?;
    instance.func_wrap("replace", |store: Store<'_>, (file, content): (u32, Vec<u8>)| {
        let replaced = any_file(store.data(), file, |files, file| match file.get().content {
            Content::Derived => files.replace(file, &content),
            other => Err(refused(other.only())),
        })?;
        Ok((replaced,))
    })
}

fn refused(reason: &str) -> StorageError {
    StorageError::Other(reason.to_owned())
}

/// Use a file of the table. A number that `open` never gave is a trap: the component is broken.
fn any_file<R>(
    data: &StoreData,
    number: u32,
    work: impl FnOnce(&mut Files, FileId) -> Result<R, StorageError>,
) -> wasmtime::Result<Result<R, StorageError>> {
    let Some(file) = FileId::numbered(number) else {
        return Err(wasmtime::Error::msg(format!(
            "it used the run file {number}, which was never opened"
        )));
    };
    Ok(data.off_the_clock(|files| work(files, file)))
}

impl Content {
    /// The one change that a component can make to a file of this content.
    fn only(self) -> &'static str {
        match self {
            Self::Lines => "this file only takes whole lines, appended",
            Self::Copy(_) => "this file only takes bytes, appended",
            Self::Derived => "this file can only be replaced",
        }
    }
}
