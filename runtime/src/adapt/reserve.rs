//! Memory for the adapter in a module of the Go compiler.
//!
//! The adapter keeps its state in the module's memory. It gets it from an export `cabi_realloc_adapter`, or else makes the
//! memory grow. Go's allocator begins where the program's data ends and takes it that all memory above is its own, and all
//! growth: it would write over the adapter's state (`runtime/mem_sbrk.go`).
//!
//! So the end of the data is moved up by [`RESERVED_BYTES`], and a function that gives out what lies between is added. The
//! end stands in the record `runtime.firstmoduledata`, which is found by what it says: it names the parts of the data in
//! order, and the memory begins with a size that Go's linker computes from the end. A module in which exactly one place looks
//! like that is changed; others are refused.

use std::ops::Range;

const PAGE_BYTES: u64 = 64 << 10;
/// What the adapter asks for: its state and its stack, a page each. The rest is for the next version of it.
const RESERVED_BYTES: u64 = 4 * PAGE_BYTES;
/// Go keeps the first of its memory for arguments, and puts no data there.
const DATA_FROM: u64 = 4_096 + 8_192;
/// The parts of the data lie beside each other.
const GAP_BYTES_MAX: u64 = 64;
/// How much memory a module begins with beyond its data: as Go 1.24 and later have it, and before.
const ROOM_BYTES: [u64; 2] = [1 << 20, 16 << 20];
/// No program's data ends beyond this.
const DATA_BYTES_MAX: u64 = 64 << 20;
/// Noptrdata, data, bss, noptrbss and the counters of coverage, each from and to, and the end of all.
const FIELDS: usize = 11;

const TYPE: u8 = 1;
const IMPORT: u8 = 2;
const FUNCTION: u8 = 3;
const MEMORY: u8 = 5;
const GLOBAL: u8 = 6;
const EXPORT: u8 = 7;
const CODE: u8 = 10;
const DATA: u8 = 11;

/// The module with memory for the adapter; `None` if it does not look as the Go compiler makes them.
pub fn reserve(module: &[u8]) -> Option<Vec<u8>> {
    let sections = sections(module)?;
    let body = |id: u8| sections.iter().find(|(it, _)| *it == id).map(|(_, body)| body.clone());
    let segments = segments(module, body(DATA)?)?;
    let (at, end) = end_field(&image(module, &segments)?, memory_pages(module, body(MEMORY)?)?)?;
    let from = end.next_multiple_of(PAGE_BYTES);
    let to = from + RESERVED_BYTES;

    let mut module = module.to_vec();
    for (offset, byte) in to.to_le_bytes().into_iter().enumerate() {
        let place = place(&segments, at + offset as u64);
        match place {
            Some(place) => module[place] = byte,
            // Zeros are left out of the data.
            None if byte == 0 => {}
            None => return None,
        }
    }
    let types = counted(&module, body(TYPE)?)?;
    let functions = imported_functions(&module, body(IMPORT)?)? + counted(&module, body(FUNCTION)?)?.0;
    let globals = counted(&module, body(GLOBAL)?)?.0;
    let (type_index, global) = (leb(types.0), leb(globals));
    let added: [(u8, Vec<u8>); 5] = [
        // (i32, i32, i32, i32) -> i32
        (TYPE, vec![0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f]),
        (FUNCTION, type_index),
        (GLOBAL, [&[0x7f, 1, 0x41][..], &signed(from), &[0x0b]].concat()),
        (EXPORT, [&[20][..], b"cabi_realloc_adapter", &[0], &leb(functions)].concat()),
        (CODE, code(&global, to)),
    ];
    let mut out = module[..8].to_vec();
    for (id, body) in &sections {
        let content = match added.iter().find(|(it, _)| it == id) {
            Some((_, entry)) => {
                let (count, entries) = counted(&module, body.clone())?;
                [&leb(count + 1), &module[entries], entry.as_slice()].concat()
            }
            None if *id == MEMORY => {
                let (count, entry) = counted(&module, body.clone())?;
                let (flags, at) = number(&module, entry.start)?;
                let (pages, rest) = number(&module, at)?;
                [&leb(count), &leb(flags)[..], &leb(pages + RESERVED_BYTES / PAGE_BYTES), &module[rest..entry.end]]
                    .concat()
            }
            None => module[body.clone()].to_vec(),
        };
        out.push(*id);
        out.extend(leb(content.len() as u64));
        out.extend(content);
    }
    Some(out)
}

/// `cabi_realloc_adapter`: the next bytes of the reserve, never given back.
fn code(global: &[u8], to: u64) -> Vec<u8> {
    let body = [
        // Two locals: what is given, and where it ends.
        &[1, 2, 0x7f][..],
        &[0x23], // global.get
        global,
        // (global + align - 1) & (0 - align)
        &[0x20, 2, 0x6a, 0x41, 1, 0x6b, 0x41, 0, 0x20, 2, 0x6b, 0x71, 0x22, 4],
        // + size; beyond the reserve: unreachable
        &[0x20, 3, 0x6a, 0x22, 5, 0x41],
        &signed(to),
        &[0x4b, 0x04, 0x40, 0x00, 0x0b],
        &[0x20, 5, 0x24], // global.set
        global,
        &[0x20, 4, 0x0b],
    ]
    .concat();
    [leb(body.len() as u64), body].concat()
}

/// The field that says where the data ends: its address, and what it says.
fn end_field(image: &[u8], pages: u64) -> Option<(u64, u64)> {
    let looks_right = |record: &[u8]| {
        let mut fields = [0; FIELDS];
        for (field, bytes) in fields.iter_mut().zip(record.chunks_exact(8)) {
            *field = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        let ordered = fields.windows(2).all(|pair| pair[0] <= pair[1]);
        let full = fields.chunks_exact(2).take(4).all(|part| part[0] < part[1]);
        let adjacent = fields[1..].chunks_exact(2).all(|gap| gap[1].wrapping_sub(gap[0]) < GAP_BYTES_MAX);
        let end = fields[FIELDS - 1];
        let fits = end <= DATA_BYTES_MAX && ROOM_BYTES.iter().any(|room| (end + room) / PAGE_BYTES == pages);
        (ordered && full && adjacent && fields[0] >= DATA_FROM && fits).then_some(end)
    };
    let mut found = None;
    for at in (0..image.len().saturating_sub(8 * FIELDS)).step_by(8) {
        if let Some(end) = looks_right(&image[at..at + 8 * FIELDS])
            && found.replace(((at + 8 * (FIELDS - 1)) as u64, end)).is_some()
        {
            return None;
        }
    }
    found
}

/// Data that the module begins with.
struct Segment {
    address: u64,
    /// Where it lies in the module.
    bytes: Range<usize>,
}

/// Where the byte at an address lies in the module.
fn place(segments: &[Segment], address: u64) -> Option<usize> {
    // They are in the order of their addresses, and no two have the same byte.
    let next = segments.partition_point(|segment| segment.address <= address);
    let segment = segments.get(next.checked_sub(1)?)?;
    let place = segment.bytes.start + usize::try_from(address - segment.address).ok()?;
    (place < segment.bytes.end).then_some(place)
}

/// The memory that the module begins with, up to the last of its data.
fn image(module: &[u8], segments: &[Segment]) -> Option<Vec<u8>> {
    let last = segments.last()?;
    let bytes = last.address + last.bytes.len() as u64;
    let mut image = vec![0; usize::try_from(bytes).ok().filter(|_| bytes <= DATA_BYTES_MAX)?];
    for segment in segments {
        let at = segment.address as usize;
        image.get_mut(at..at + segment.bytes.len())?.copy_from_slice(&module[segment.bytes.clone()]);
    }
    Some(image)
}

fn segments(module: &[u8], body: Range<usize>) -> Option<Vec<Segment>> {
    let (count, entries) = counted(module, body)?;
    let (mut all, mut at) = (Vec::new(), entries.start);
    for _ in 0..count {
        let (kind, offset) = number(module, at)?;
        // i32.const, its value, end.
        if kind != 0 || module.get(offset) != Some(&0x41) {
            return None;
        }
        let (address, behind) = number(module, offset + 1)?;
        let (length, from) = number(module, behind + 1)?;
        at = from.checked_add(usize::try_from(length).ok()?)?;
        module.get(from..at)?;
        all.push(Segment { address: address & 0xffff_ffff, bytes: from..at });
    }
    all.sort_by_key(|segment| segment.address);
    Some(all)
}

fn memory_pages(module: &[u8], body: Range<usize>) -> Option<u64> {
    let (count, entry) = counted(module, body)?;
    let (flags, at) = number(module, entry.start)?;
    // One, and no maximum that the reserve could exceed.
    (count == 1 && flags == 0).then_some(())?;
    Some(number(module, at)?.0)
}

fn imported_functions(module: &[u8], body: Range<usize>) -> Option<u64> {
    let reader = wasmparser::ImportSectionReader::new(wasmparser::BinaryReader::new(module.get(body)?, 0)).ok()?;
    let mut functions = 0;
    for import in reader.into_imports() {
        functions += u64::from(matches!(import.ok()?.ty, wasmparser::TypeRef::Func(_)));
    }
    Some(functions)
}

/// Each with its id and where its content lies.
fn sections(module: &[u8]) -> Option<Vec<(u8, Range<usize>)>> {
    let (mut all, mut at) = (Vec::new(), 8);
    while let Some(id) = module.get(at) {
        let (length, from) = number(module, at + 1)?;
        at = from.checked_add(usize::try_from(length).ok()?)?;
        module.get(from..at)?;
        all.push((*id, from..at));
    }
    Some(all)
}

/// How many entries a section has, and where they lie.
fn counted(module: &[u8], body: Range<usize>) -> Option<(u64, Range<usize>)> {
    let (count, from) = number(module, body.start)?;
    (from <= body.end).then_some((count, from..body.end))
}

/// An unsigned number in LEB128, and what follows it.
fn number(module: &[u8], mut at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *module.get(at)?;
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, at));
        }
    }
    None
}

fn leb(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// The same of a number of `i32.const`, of five bytes.
fn signed(value: u64) -> Vec<u8> {
    let value = value as u32 as i32;
    (0..5).map(|at| (value >> (7 * at)) as u8 & 0x7f | if at < 4 { 0x80 } else { 0 }).collect()
}
