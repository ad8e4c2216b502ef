//! Uploads in chunks: a file that comes with several requests, in any order and to any process.
//!
//! The first request, without `x-appwrite-id`, makes the deployment; its answer has the id that the others send. Every chunk
//! but the last has [`CHUNK_BYTES`], so chunks neither overlap nor leave gaps.

use axum::http::HeaderMap;
use bytes::Bytes;
use larder_model::ids::DeploymentId;
use larder_model::{Deployment, Function};
use larder_platform::chunks::{self, CHUNK_BYTES, SourceError};
use larder_platform::common::Common;
use larder_platform::objects::Objects;
use larder_platform::uploads::Upload;
use larder_wire::deployments::DeploymentObject;

use crate::api::deployments::upload::too_large;
use crate::api::requests;
use crate::problem::{Kind, Problem};

const UPLOAD_ID: &str = "x-appwrite-id";

/// What `content-range: bytes 0-9/10` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    start: usize,
    /// The last byte.
    end: usize,
    total: usize,
}

/// A range that is one of the chunks of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRange {
    pub ordinal: u32,
    total: u64,
}

/// A chunk that is to be stored.
pub struct Chunk {
    pub range: ChunkRange,
    /// Whose it is; `None`: it is the first of a new deployment.
    pub of: Option<Deployment>,
}

impl Range {
    pub fn bytes(&self) -> usize {
        self.end - self.start + 1
    }

    /// Where it lies in what was sent for it: that alone; or with a byte behind it, as one client sends it; or, as others send
    /// it, in the whole file. Anything else would be put together wrongly.
    pub fn part_of(&self, sent: u64) -> Result<std::ops::Range<u64>, Problem> {
        let (start, bytes, total) = (self.start as u64, self.bytes() as u64, self.total as u64);
        match sent {
            _ if sent == bytes || sent == bytes + 1 => Ok(0..bytes),
            _ if sent == total => Ok(start..start + bytes),
            _ => {
                let message = format!("content-range says {bytes} bytes of {total}, but the file has {sent}");
                Err(Problem::new(Kind::ContentRange, message))
            }
        }
    }

    /// `None` if it is the whole file.
    pub fn chunk(&self) -> Option<ChunkRange> {
        let ordinal = (self.start as u64 / CHUNK_BYTES) as u32;
        (self.bytes() < self.total).then_some(ChunkRange { ordinal, total: self.total as u64 })
    }
}

impl Chunk {
    /// What the partner stores more: with the first chunk, the whole file.
    pub fn more_bytes(&self) -> u64 {
        if self.of.is_some() { 0 } else { self.range.total }
    }
}

pub fn range(headers: &HeaderMap, max: usize) -> Result<Option<Range>, Problem> {
    let Some(range) = headers.get("content-range") else { return Ok(None) };
    let refused = |why: String| Problem::new(Kind::ContentRange, format!("Invalid content-range: {why}"));
    let wrong = || refused("must be bytes START-END/TOTAL".into());
    let range = range.to_str().ok().and_then(|text| text.strip_prefix("bytes ")).ok_or_else(wrong)?;
    let (ends, total) = range.split_once('/').ok_or_else(wrong)?;
    let (start, end) = ends.split_once('-').ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
    let range = Range { start: number(start)?, end: number(end)?, total: number(total)? };
    if range.start > range.end || range.end >= range.total {
        return Err(refused("END must not be before START, and TOTAL must be more than END".into()));
    }
    if range.total > max {
        return Err(too_large(max));
    }
    let chunk = CHUNK_BYTES as usize;
    let is_whole = range.bytes() == range.total;
    if !is_whole && (!range.start.is_multiple_of(chunk) || range.end != (range.start + chunk).min(range.total) - 1) {
        return Err(refused(format!(
            "a file comes whole or in chunks of {chunk} bytes, so START must be a multiple of that and END {chunk} bytes \
             further, or the end of the file"
        )));
    }
    Ok(Some(range))
}

/// The deployment that a chunk belongs to. Without a range that is a chunk, the header says nothing.
pub fn upload_id(headers: &HeaderMap, range: Option<&Range>) -> Result<Option<DeploymentId>, Problem> {
    match headers.get(UPLOAD_ID) {
        Some(id) if range.and_then(Range::chunk).is_some() => {
            let id = id.to_str().map_err(|_| Problem::argument(UPLOAD_ID, "must be ASCII"))?;
            requests::id(UPLOAD_ID, id).map(Some)
        }
        _ => Ok(None),
    }
}

/// Finds the deployment that a chunk belongs to.
pub async fn find(
    common: &Common,
    function: &Function,
    upload: Option<DeploymentId>,
    range: ChunkRange,
) -> Result<Chunk, Problem> {
    let Some(id) = upload else { return Ok(Chunk { range, of: None }) };
    let deployment = super::find(common, &function.partner, &function.id, &id).await?;
    if deployment.source_bytes != range.total {
        let message = format!(
            "Invalid content-range: the file of this deployment has {} bytes, not {}",
            deployment.source_bytes, range.total
        );
        return Err(Problem::new(Kind::ContentRange, message));
    }
    Ok(Chunk { range, of: Some(deployment) })
}

/// Stores a chunk. Of a deployment whose file is complete, every chunk is welcome and none is needed.
pub async fn add(
    common: &Common,
    objects: &Objects,
    deployment: &Deployment,
    ordinal: u32,
    file: Upload,
) -> Result<DeploymentObject, Problem> {
    let total = chunks::count(deployment.source_bytes);
    let uploaded = match deployment.uploading {
        true => chunks::add(common, objects, deployment, ordinal, file).await?,
        false => total,
    };
    let object = DeploymentObject::from(deployment.clone());
    Ok(DeploymentObject { chunks_total: Some(total), chunks_uploaded: Some(uploaded), ..object })
}

/// The uploaded bytes of a deployment.
pub async fn source(common: &Common, objects: &Objects, deployment: &Deployment) -> Result<Bytes, Problem> {
    match chunks::source(&common.store, objects, deployment).await {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(unfinished()),
        Err(SourceError::Store(err)) => Err(err.into()),
        Err(SourceError::Objects(err)) => Err(err.into()),
    }
}

pub fn unfinished() -> Problem {
    Problem::new(Kind::BuildNotReady, "Chunks of this deployment's upload are missing, or were not put together yet")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 30_000_000;

    fn range(text: &str) -> Result<Option<Range>, Problem> {
        super::range(&HeaderMap::from_iter([("content-range".parse().unwrap(), text.parse().unwrap())]), MAX)
    }

    #[test]
    fn a_range_is_a_whole_file_or_one_of_its_chunks() {
        assert_eq!(super::range(&HeaderMap::new(), MAX).unwrap(), None);
        let chunk = |text| range(text).unwrap().unwrap().chunk();
        assert_eq!(chunk("bytes 0-99/100"), None);
        assert_eq!(chunk("bytes 0-5242879/5242880"), None);
        assert_eq!(chunk("bytes 0-5999999/6000000"), None);
        assert_eq!(chunk("bytes 0-5242879/5242881"), Some(ChunkRange { ordinal: 0, total: 5_242_881 }));
        assert_eq!(chunk("bytes 5242880-5242880/5242881"), Some(ChunkRange { ordinal: 1, total: 5_242_881 }));
        assert_eq!(chunk("bytes 10485760-15728639/30000000"), Some(ChunkRange { ordinal: 2, total: 30_000_000 }));
        assert_eq!(range("bytes 0-5242879/30000001").unwrap_err().kind, Kind::FileSize);
        for text in [
            "",
            "bytes",
            "bytes 0-9",
            "bytes 9-0/10",
            "bytes 0-10/10",
            "bytes a-b/c",
            "bytes -5-9/10",
            "bytes 0-49/100",
            "bytes 1-5242880/6000000",
            "bytes 0-5242880/6000000",
            "bytes 0-5242878/6000000",
            "bytes 5242880-5999998/6000000",
            "bytes 5242879-5999999/6000000",
            "bytes 0-5242879/18446744073709551616",
        ] {
            assert_eq!(range(text).unwrap_err().kind, Kind::ContentRange, "{text}");
        }
    }

    #[test]
    fn a_chunk_is_found_in_what_was_sent() {
        let range = range("bytes 5242880-10485759/12000000").unwrap().unwrap();
        assert_eq!(range.part_of(5_242_880).unwrap(), 0..5_242_880);
        assert_eq!(range.part_of(5_242_881).unwrap(), 0..5_242_880);
        assert_eq!(range.part_of(12_000_000).unwrap(), 5_242_880..10_485_760);
        for sent in [0, 5_242_879, 5_242_882, 11_999_999, 12_000_001] {
            assert_eq!(range.part_of(sent).unwrap_err().kind, Kind::ContentRange, "{sent}");
        }
    }

    #[test]
    fn an_upload_id_counts_for_chunks_only() {
        let headers = HeaderMap::from_iter([(UPLOAD_ID.parse().unwrap(), "d1".parse().unwrap())]);
        let of = |text: &str| upload_id(&headers, range(text).unwrap().as_ref()).unwrap();
        assert_eq!(of("bytes 0-5242879/6000000").unwrap().as_str(), "d1");
        assert_eq!(of("bytes 0-9/10"), None);
        assert_eq!(upload_id(&headers, None).unwrap(), None);
    }
}
