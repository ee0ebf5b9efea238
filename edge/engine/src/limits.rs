//! All caps, each with the reason for its value.
//!
//! A cap protects the edge from a snapshot, never a request from its own size: requests are bounded
//! by the host. A snapshot over a cap is refused whole, with the place, before any edge sees it.

/// Bytes of a snapshot document. 10 000 flags with ten rules each stay under half of it.
pub const MAX_SNAPSHOT_BYTES: usize = 32 << 20;
/// Flags in a snapshot: twice the size for which the performance targets are stated.
pub const MAX_FLAGS: usize = 20_000;
/// Segments in a snapshot.
pub const MAX_SEGMENTS: usize = 5_000;
/// Releases in a snapshot; it only needs those in slots and a short history.
pub const MAX_RELEASES: usize = 1_000;
/// Upstreams of one release; a larger fleet belongs behind a balancer.
pub const MAX_UPSTREAMS: usize = 64;
/// Rules of one flag, or of the traffic; they are tried in order for each request.
pub const MAX_RULES: usize = 500;
/// Variants of one flag; their index travels as a small integer.
pub const MAX_VARIANTS: usize = 256;
/// Prerequisites of one flag; each may evaluate a whole flag.
pub const MAX_PREREQUISITES: usize = 32;
/// Bytes of one variant's value as JSON; larger documents belong in storage, named by a variant.
pub const MAX_VARIANT_BYTES: usize = 64 << 10;
/// Nesting of one variant's value. JSON parsers stop at 128 levels, and a decision adds some.
pub const MAX_VARIANT_DEPTH: usize = 32;
/// Values of one condition: a list of customers, not a database table.
pub const MAX_VALUES: usize = 100_000;
/// Values in all conditions together; about 32 MiB of memory in every instance.
pub const MAX_TOTAL_VALUES: usize = 500_000;
/// Bytes of one value in a condition.
pub const MAX_VALUE_BYTES: usize = 4 << 10;
/// Elements of a list attribute that are looked at; all other elements are ignored. A list multiplies
/// the work of every condition on it, and it comes from the client.
pub const MAX_LIST_ELEMENTS: usize = 1_000;
/// Conditions in a snapshot, nested ones included. Each takes some hundred bytes while a document is read;
/// without a cap five million fit into its bytes and not into the module's memory.
pub const MAX_CONDITIONS: usize = 500_000;
/// Parts of one `all` or `any`.
pub const MAX_PARTS: usize = 1_000;
/// Nesting of a condition with every segment and flag it refers to. Evaluation recurses this deep on
/// the module's stack of 1 MiB; and one level is up to three levels of JSON in a trace, of which
/// parsers read 128.
pub const MAX_DEPTH: usize = 32;
/// Work of one flag, or of one route decision with all forwarded flags, in steps of at most 20 ns
/// (`operator.rs` says what each operator takes): the worst decision stays below 2 ms.
pub const MAX_COST: u64 = 100_000;
/// Work of all flags together, as a bulk evaluation asks for them: below 100 ms.
pub const MAX_BULK_COST: u64 = 5_000_000;
/// Bytes of a pattern.
pub const MAX_PATTERN_BYTES: usize = 256;
/// Bytes of a compiled pattern; counted repetitions unfold here. One pattern of this size takes most of
/// [`MAX_COST`].
pub const MAX_PATTERN_COMPILED: usize = 16 << 10;
/// Bytes of all compiled patterns together with what they need to run, in every instance.
pub const MAX_TOTAL_PATTERN_BYTES: usize = 32 << 20;
/// Bytes of a value that a pattern is matched against; longer values do not match. Matching costs
/// pattern times value.
pub const MAX_MATCH_BYTES: usize = 512;
/// Bytes of a value that `contains` searches; longer values do not match. The worst needle costs 4 ns a
/// byte.
pub const MAX_SEARCH_BYTES: usize = 1 << 10;
/// Bytes of a text that is read as a number, timestamp, address or version; none needs more, and reading
/// costs its length.
pub const MAX_SCALAR_BYTES: usize = 64;
/// Bytes of a unit; a longer value counts as absent. Each split of a request hashes the unit again, and
/// the unit comes from the client.
pub const MAX_UNIT_BYTES: usize = 512;
/// Distinct attributes that a snapshot may ask for; the host packs each of them for each request.
pub const MAX_ATTRIBUTES: usize = 128;
/// Bytes of an attribute's name.
pub const MAX_ATTRIBUTE_BYTES: usize = 128;
/// Sources of one unit.
pub const MAX_UNIT_SOURCES: usize = 8;
/// Distinct unit sources in a snapshot; their index travels as one byte.
pub const MAX_UNIT_SOURCES_TOTAL: usize = 64;
/// Ranges of one split; re-weighting fragments them slowly.
pub const MAX_RANGES: usize = 1_000;
/// Sum of the weights of a split with the bucketing of flagd, which has this bound.
pub const MAX_WEIGHTS: u32 = i32::MAX.unsigned_abs();
/// Bytes of a salt, an id or another free text that is kept per object.
pub const MAX_TEXT_BYTES: usize = 256;
/// Hosts of one environment.
pub const MAX_HOSTS: usize = 1_000;
/// Origins whose pages may evaluate flags; each is compared with that of a request.
pub const MAX_ORIGINS: usize = 100;
/// Releases whose pins are void.
pub const MAX_ROLLED_BACK: usize = MAX_RELEASES;
/// Regions with an own weight.
pub const MAX_REGIONS: usize = 100;
/// Longest pin: a week.
pub const MAX_PIN_SECONDS: u32 = 7 * 24 * 3600;
/// Longest timeout: an hour.
pub const MAX_TIMEOUT_MS: u32 = 3_600_000;
/// Problems that are reported for one document.
pub const MAX_PROBLEMS: usize = 200;
