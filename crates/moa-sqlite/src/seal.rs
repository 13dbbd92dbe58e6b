//! Every page of the database file carries a seal: eight bytes at its end, a hash of its content
//! and its number, written with the page and checked whenever SQLite reads it from the file.
//!
//! Why: SQLite notices damage only where it breaks a structure that it walks; a bit flipped in a
//! row, or in a key above it, would be served as truth. With seals a damaged page that is read is an
//! error, and one that is not read is harmless; so nothing has to be checked in whole before moa is
//! ready. The file stays an ordinary SQLite database (the eight bytes are the format's "reserved
//! space"): other programs may read it.
//!
//! How: a VFS, SQLite's seam for files, that wraps the default one. A page that SQLite gets from
//! here has zeros in place of its seal, so a page written by a program that knows nothing of seals
//! (say, the `sqlite3` shell finishing the write-ahead log of a node that was killed) has zeros
//! too: it counts as *unsealed*, is trusted, and is sealed when moa writes it the next time. A page
//! of nothing but zeros is never trusted: no page that SQLite reads is empty.
//!
//! Absent: the write-ahead log is not sealed, it has checksums of its own; memory-mapped reads,
//! which would go round this.
//!
//! Unsafe: SQLite calls a VFS through C function pointers; there is no other way to see its pages.
//! Everything unsafe of this crate is in this file. It relies on what SQLite's documentation
//! promises of a VFS: `szOsFile` bytes are reserved for each open file, zeroed or not; methods are
//! called only between a successful `xOpen` and `xClose`; buffers hold as many bytes as `iAmt`.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rusqlite::{Connection, ffi};

use crate::fault::{self, FileKind, IoFault, IoFaults, IoOp};

/// The name under which SQLite knows the VFS.
pub const VFS: &CStr = c"moa-sealed";
/// Bytes of a seal.
const SEAL_BYTES: usize = 8;
/// What a page of another program has in its place.
const UNSEALED: [u8; SEAL_BYTES] = [0; SEAL_BYTES];

/// What is wrong with a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The content doesn't match the seal.
    Mismatch,
    /// Nothing but zeros.
    Empty,
    /// The file ends before it.
    Missing,
}

impl Damage {
    /// What is wrong, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mismatch => "does not match its checksum",
            Self::Empty => "holds nothing but zeros",
            Self::Missing => "is cut off",
        }
    }
}

/// The seal of a page's content (without its last eight bytes); never zero. Each step is a
/// bijection of its lane, so a change of any one word always changes the seal.
fn seal(content: &[u8], page: u64) -> u64 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut lanes = [page ^ K, page.rotate_left(16), page.rotate_left(32) ^ !K, !page];
    let step = |lane: u64, word: u64| (lane ^ word).wrapping_mul(K).rotate_left(29);
    let (words, _) = content.as_chunks::<8>();
    let (blocks, rest) = words.as_chunks::<4>();
    for block in blocks {
        for (lane, word) in lanes.iter_mut().zip(block) {
            *lane = step(*lane, u64::from_le_bytes(*word));
        }
    }
    for (lane, word) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, u64::from_le_bytes(*word));
    }
    lanes.into_iter().fold(page, step).max(1)
}

/// Checks a whole page that was read; `page` counts from 0. Answers whether it is sealed at all.
pub fn check(bytes: &[u8], page: u64) -> Result<bool, Damage> {
    let Some((content, found)) = bytes.split_last_chunk::<SEAL_BYTES>() else {
        return Err(Damage::Missing);
    };
    if *found == UNSEALED {
        let empty = content.iter().all(|&byte| byte == 0);
        return if empty { Err(Damage::Empty) } else { Ok(false) };
    }
    if seal(content, page) == u64::from_le_bytes(*found) { Ok(true) } else { Err(Damage::Mismatch) }
}

thread_local! {
    /// The damaged page that this thread met last: SQLite's error only says that there was one.
    static MET: Cell<Option<(u64, Damage)>> = const { Cell::new(None) };
    /// A page on its way to the file: what SQLite hands over is not ours to change.
    static OUTGOING: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The damaged page that this thread met last, counted from 1 as SQLite does, and what is wrong.
pub fn last_damage() -> Option<(u64, Damage)> {
    MET.take()
}

/// Makes the VFS known to SQLite, once for the process.
///
/// # Errors
/// When SQLite has no default VFS or refuses a new one.
pub fn register() -> Result<(), String> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    DONE.get_or_init(|| {
        // SAFETY: sqlite3_vfs_find(NULL) gives the default VFS or NULL; it is never freed.
        let base = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
        // SAFETY: checked for NULL by as_ref.
        let Some(found) = (unsafe { base.as_ref() }) else {
            return Err("SQLite has no default VFS".to_owned());
        };
        let own = c_int::try_from(size_of::<Sealed>()).expect("the header of a file is small");
        let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: own + found.szOsFile,
            mxPathname: found.mxPathname,
            pNext: std::ptr::null_mut(),
            zName: VFS.as_ptr(),
            pAppData: base.cast(),
            xOpen: Some(x_open),
            xDelete: Some(x_delete),
            xAccess: Some(x_access),
            xFullPathname: Some(x_full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(x_randomness),
            xSleep: Some(x_sleep),
            xCurrentTime: Some(x_current_time),
            xGetLastError: Some(x_get_last_error),
            xCurrentTimeInt64: Some(x_current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        }));
        // SAFETY: `vfs` lives for ever and all pointers in it are valid.
        match unsafe { ffi::sqlite3_vfs_register(vfs, 0) } {
            ffi::SQLITE_OK => Ok(()),
            code => Err(format!("SQLite refuses a VFS (code {code})")),
        }
    })
    .clone()
}

/// Makes room for seals in a database that has no page yet.
///
/// # Errors
/// When SQLite refuses.
pub fn reserve(conn: &Connection) -> Result<(), String> {
    let mut bytes = SEAL_BYTES as c_int;
    // SAFETY: the handle is open, the name is a C string, and the argument of this control is an
    // int that outlives the call.
    let code = unsafe {
        let (db, arg) = (conn.handle(), std::ptr::from_mut(&mut bytes).cast());
        ffi::sqlite3_file_control(db, c"main".as_ptr(), ffi::SQLITE_FCNTL_RESERVE_BYTES, arg)
    };
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(format!("no room for seals (code {code})")) }
}

/// Every statement that a connection has prepared.
#[cfg(test)]
pub fn statements(conn: &Connection) -> Vec<String> {
    let mut all = Vec::new();
    let mut stmt = std::ptr::null_mut();
    loop {
        // SAFETY: the handle is open; `stmt` is NULL or one of its statements.
        stmt = unsafe { ffi::sqlite3_next_stmt(conn.handle(), stmt) };
        if stmt.is_null() {
            return all;
        }
        // SAFETY: the text of a statement is a C string that lives as long as the statement.
        let sql = unsafe { CStr::from_ptr(ffi::sqlite3_sql(stmt)) };
        all.push(sql.to_string_lossy().into_owned());
    }
}

/// An open file: this header, then the wrapped file of the default VFS.
#[repr(C)]
struct Sealed {
    base: ffi::sqlite3_file,
    kind: FileKind,
    faults: Option<Arc<dyn IoFaults>>,
}

// Invariant: the wrapped file begins where the header ends, aligned for any C struct.
const _: () = assert!(size_of::<Sealed>().is_multiple_of(8));

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Version 2 has shared memory, but no memory-mapped reads.
    iVersion: 2,
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xSync: Some(x_sync),
    xFileSize: Some(x_file_size),
    xLock: Some(x_lock),
    xUnlock: Some(x_unlock),
    xCheckReservedLock: Some(x_check_reserved_lock),
    xFileControl: Some(x_file_control),
    xSectorSize: Some(x_sector_size),
    xDeviceCharacteristics: Some(x_device_characteristics),
    xShmMap: Some(x_shm_map),
    xShmLock: Some(x_shm_lock),
    xShmBarrier: Some(x_shm_barrier),
    xShmUnmap: Some(x_shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// The file that a file of ours wraps.
///
/// # Safety
/// `file` was given to `x_open`.
unsafe fn inner(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: szOsFile makes room for both, one behind the other.
    unsafe { file.cast::<Sealed>().add(1).cast() }
}

/// Calls a method of the wrapped file; `$none` when it has no such method.
macro_rules! pass {
    ($file:expr, $method:ident, $none:expr $(, $arg:expr)*) => {{
        // SAFETY: the wrapped file is open, so its methods are there.
        unsafe {
            let file = inner($file);
            match (*file).pMethods.as_ref().and_then(|methods| methods.$method) {
                Some(method) => method(file $(, $arg)*),
                None => $none,
            }
        }
    }};
}

/// Calls a method of the wrapped VFS with that VFS.
macro_rules! pass_vfs {
    ($vfs:expr, $method:ident, $none:expr $(, $arg:expr)*) => {{
        // SAFETY: pAppData is the default VFS, which lives for ever.
        unsafe {
            let base = (*$vfs).pAppData.cast::<ffi::sqlite3_vfs>();
            match (*base).$method {
                Some(method) => method(base $(, $arg)*),
                None => $none,
            }
        }
    }};
}

unsafe extern "C" fn x_open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let kind = match flags {
        f if f & ffi::SQLITE_OPEN_MAIN_DB != 0 => FileKind::Database,
        f if f & ffi::SQLITE_OPEN_WAL != 0 => FileKind::Log,
        _ => FileKind::Other,
    };
    let path = if name.is_null() {
        PathBuf::new()
    } else {
        // SAFETY: SQLite gives a C string that lives as long as the file is open.
        Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(name) }.to_bytes())).to_owned()
    };
    let faults = fault::io_faults(&path);
    // SAFETY: SQLite reserved szOsFile bytes at `file`, so header and wrapped file fit.
    unsafe {
        let base = ffi::sqlite3_file { pMethods: std::ptr::null() };
        file.cast::<Sealed>().write(Sealed { base, kind, faults });
        (*inner(file)).pMethods = std::ptr::null();
    }
    let code = pass_vfs!(vfs, xOpen, ffi::SQLITE_CANTOPEN, name, inner(file), flags, out);
    // SAFETY: as above; without methods SQLite does not call xClose, so nothing may be left.
    unsafe {
        if (*inner(file)).pMethods.is_null() {
            std::ptr::drop_in_place(file.cast::<Sealed>());
            (*file).pMethods = std::ptr::null();
        } else {
            (*file).pMethods = &raw const METHODS;
        }
    }
    code
}

unsafe extern "C" fn x_close(file: *mut ffi::sqlite3_file) -> c_int {
    let code = pass!(file, xClose, ffi::SQLITE_OK);
    // SAFETY: written in x_open; SQLite does not use the file again.
    unsafe {
        std::ptr::drop_in_place(file.cast::<Sealed>());
        (*file).pMethods = std::ptr::null();
    }
    code
}

/// The header of an open file.
///
/// # Safety
/// `file` is open.
unsafe fn header<'a>(file: *mut ffi::sqlite3_file) -> &'a Sealed {
    // SAFETY: written in x_open, dropped in x_close.
    unsafe { &*file.cast::<Sealed>() }
}

/// The page that an access is about, counted from 0, when it is about a whole page of the
/// database. SQLite also reads parts of the first page, before it knows the size of pages.
fn whole_page(kind: FileKind, amount: c_int, offset: i64) -> Option<(usize, u64)> {
    let size = usize::try_from(amount).ok()?;
    let whole = kind == FileKind::Database && size >= 512 && size.is_power_of_two();
    let page = u64::try_from(offset).ok()? / size as u64;
    (whole && page * size as u64 == offset as u64).then_some((size, page))
}

unsafe extern "C" fn x_read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: called between x_open and x_close.
    let own = unsafe { header(file) };
    if own.faults.as_ref().and_then(|f| f.check(IoOp::Read, own.kind)).is_some() {
        return ffi::SQLITE_IOERR_READ;
    }
    let code = pass!(file, xRead, ffi::SQLITE_IOERR, buffer, amount, offset);
    let Some((size, page)) = whole_page(own.kind, amount, offset) else { return code };
    let damage = match code {
        // SAFETY: the buffer has `amount` bytes, now filled.
        ffi::SQLITE_OK => {
            match check(unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), size) }, page) {
                Ok(_) => {
                    // SAFETY: as above; the seal is no part of the page as SQLite knows it.
                    unsafe {
                        buffer.cast::<u8>().add(size - SEAL_BYTES).write_bytes(0, SEAL_BYTES)
                    };
                    return code;
                }
                Err(damage) => damage,
            }
        }
        // An empty file has no first page yet; any later page should be there when it is asked for.
        ffi::SQLITE_IOERR_SHORT_READ if page > 0 => Damage::Missing,
        _ => return code,
    };
    MET.set(Some((page + 1, damage)));
    ffi::SQLITE_IOERR_DATA
}

unsafe extern "C" fn x_write(
    file: *mut ffi::sqlite3_file,
    buffer: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: called between x_open and x_close.
    let own = unsafe { header(file) };
    match own.faults.as_ref().and_then(|f| f.check(IoOp::Write, own.kind)) {
        Some(IoFault::Full) => return ffi::SQLITE_FULL,
        Some(IoFault::Failed) => return ffi::SQLITE_IOERR_WRITE,
        None => {}
    }
    let Some((size, page)) = whole_page(own.kind, amount, offset) else {
        return pass!(file, xWrite, ffi::SQLITE_IOERR, buffer, amount, offset);
    };
    OUTGOING.with_borrow_mut(|out| {
        out.clear();
        // SAFETY: the buffer holds `amount` bytes; the last ones are replaced by the seal.
        out.extend_from_slice(unsafe {
            std::slice::from_raw_parts(buffer.cast::<u8>(), size - SEAL_BYTES)
        });
        let seal = seal(out, page).to_le_bytes();
        out.extend_from_slice(&seal);
        pass!(file, xWrite, ffi::SQLITE_IOERR, out.as_ptr().cast(), amount, offset)
    })
}

unsafe extern "C" fn x_truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    pass!(file, xTruncate, ffi::SQLITE_IOERR, size)
}

unsafe extern "C" fn x_sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: called between x_open and x_close.
    let own = unsafe { header(file) };
    if own.faults.as_ref().and_then(|f| f.check(IoOp::Sync, own.kind)).is_some() {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    pass!(file, xSync, ffi::SQLITE_IOERR, flags)
}

unsafe extern "C" fn x_file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    pass!(file, xFileSize, ffi::SQLITE_IOERR, size)
}

unsafe extern "C" fn x_lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass!(file, xLock, ffi::SQLITE_IOERR, level)
}

unsafe extern "C" fn x_unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    pass!(file, xUnlock, ffi::SQLITE_IOERR, level)
}

unsafe extern "C" fn x_check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    pass!(file, xCheckReservedLock, ffi::SQLITE_IOERR, out)
}

unsafe extern "C" fn x_file_control(
    file: *mut ffi::sqlite3_file,
    op: c_int,
    arg: *mut c_void,
) -> c_int {
    pass!(file, xFileControl, ffi::SQLITE_NOTFOUND, op, arg)
}

unsafe extern "C" fn x_sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    pass!(file, xSectorSize, 4096)
}

unsafe extern "C" fn x_device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // Without this bit SQLite reads whole pages only, as seals need it.
    pass!(file, xDeviceCharacteristics, 0) & !ffi::SQLITE_IOCAP_SUBPAGE_READ
}

unsafe extern "C" fn x_shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    pass!(file, xShmMap, ffi::SQLITE_IOERR, region, size, extend, out)
}

unsafe extern "C" fn x_shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    n: c_int,
    flags: c_int,
) -> c_int {
    pass!(file, xShmLock, ffi::SQLITE_IOERR, offset, n, flags)
}

unsafe extern "C" fn x_shm_barrier(file: *mut ffi::sqlite3_file) {
    pass!(file, xShmBarrier, ());
}

unsafe extern "C" fn x_shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    pass!(file, xShmUnmap, ffi::SQLITE_OK, delete)
}

unsafe extern "C" fn x_delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync: c_int,
) -> c_int {
    pass_vfs!(vfs, xDelete, ffi::SQLITE_IOERR, name, sync)
}

unsafe extern "C" fn x_access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    pass_vfs!(vfs, xAccess, ffi::SQLITE_IOERR, name, flags, out)
}

unsafe extern "C" fn x_full_pathname(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    size: c_int,
    out: *mut c_char,
) -> c_int {
    pass_vfs!(vfs, xFullPathname, ffi::SQLITE_CANTOPEN, name, size, out)
}

unsafe extern "C" fn x_randomness(
    vfs: *mut ffi::sqlite3_vfs,
    size: c_int,
    out: *mut c_char,
) -> c_int {
    pass_vfs!(vfs, xRandomness, 0, size, out)
}

unsafe extern "C" fn x_sleep(vfs: *mut ffi::sqlite3_vfs, micros: c_int) -> c_int {
    pass_vfs!(vfs, xSleep, 0, micros)
}

unsafe extern "C" fn x_current_time(vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    pass_vfs!(vfs, xCurrentTime, ffi::SQLITE_ERROR, out)
}

unsafe extern "C" fn x_get_last_error(
    vfs: *mut ffi::sqlite3_vfs,
    size: c_int,
    out: *mut c_char,
) -> c_int {
    pass_vfs!(vfs, xGetLastError, 0, size, out)
}

unsafe extern "C" fn x_current_time_int64(vfs: *mut ffi::sqlite3_vfs, out: *mut i64) -> c_int {
    pass_vfs!(vfs, xCurrentTimeInt64, ffi::SQLITE_ERROR, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(content: &[u8; 504], page: u64) -> [u8; 512] {
        let mut bytes = [0; 512];
        bytes[..504].copy_from_slice(content);
        bytes[504..].copy_from_slice(&seal(content, page).to_le_bytes());
        bytes
    }

    #[test]
    fn any_flipped_bit_breaks_the_seal() {
        let content = std::array::from_fn(|i| (i * 7 % 251) as u8);
        let page = sealed(&content, 3);
        assert_eq!(check(&page, 3), Ok(true));
        for bit in 0..512 * 8 {
            let mut damaged = page;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check(&damaged, 3), Err(Damage::Mismatch), "bit {bit}");
        }
    }

    #[test]
    fn a_page_in_the_place_of_another_breaks_the_seal() {
        assert_eq!(check(&sealed(&[1; 504], 3), 4), Err(Damage::Mismatch));
    }

    #[test]
    fn pages_of_other_programs_are_trusted_unless_empty() {
        let mut page = [0; 512];
        assert_eq!(check(&page, 1), Err(Damage::Empty));
        page[0] = 13;
        assert_eq!(check(&page, 1), Ok(false));
    }
}
