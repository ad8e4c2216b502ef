//! The same call gives the same bits on every machine: floating point, SIMD, growth of memory.

use larder_runtime::{End, Limits};

use crate::Bench;

/// The bytes that a guest answers which stores them at 1,024.
async fn stored(core: &str, bytes: usize) -> Vec<u8> {
    let run =
        format!("(func $run (param i32 i32) (result i32) {core} (call $answer (i32.const 1024) (i32.const {bytes})))");
    match Bench::new().event(&run, Limits::DEFAULT).await.end {
        End::Returned(Some(answer)) => answer,
        End::Failed(failure) => panic!("{failure}"),
        _ => panic!("no answer"),
    }
}

#[tokio::test]
async fn arithmetic_produces_only_canonical_nans() {
    // Payloads and signs come from memory, so that nothing is computed while compiling. What is at 2,048 is zero.
    let zero = "(f32.load (i32.const 2048))";
    let payload = "(f32.load (i32.const 2052))";
    let negative = "(f32.neg (f32.load (i32.const 2052)))";
    let zero64 = "(f64.load (i32.const 2064))";
    let payload64 = "(f64.load (i32.const 2072))";
    let singles = [
        format!("(f32.div {zero} {zero})"),
        format!("(f32.add {payload} (f32.const 1))"),
        format!("(f32.mul (f32.const 3) {negative})"),
        format!("(f32.min {negative} (f32.const 1))"),
        format!("(f32.sqrt {payload})"),
        format!("(f32.ceil {negative})"),
        format!("(f32.demote_f64 {payload64})"),
    ];
    let doubles = [
        format!("(f64.div {zero64} {zero64})"),
        format!("(f64.sub {payload64} (f64.const 1))"),
        format!("(f64.max (f64.const 1) {payload64})"),
        format!("(f64.promote_f32 {negative})"),
    ];
    let quads = [
        format!("(f32x4.mul (f32x4.splat {payload}) (f32x4.splat (f32.const 2)))"),
        format!("(f32x4.div (f32x4.splat {zero}) (f32x4.splat {zero}))"),
    ];
    let mut core = "(i32.store (i32.const 2052) (i32.const 0x7fa12345))
        (i64.store (i32.const 2072) (i64.const 0xfff4123456789abc))"
        .to_owned();
    let mut expected = Vec::new();
    let mut at = 1024;
    for (operation, made, nan) in [
        ("f32.store", &singles[..], &0x7fc0_0000_u32.to_le_bytes()[..]),
        ("f64.store", &doubles[..], &0x7ff8_0000_0000_0000_u64.to_le_bytes()[..]),
        ("v128.store", &quads[..], &0x7fc0_0000_u32.to_le_bytes().repeat(4)[..]),
    ] {
        for value in made {
            core += &format!("({operation} (i32.const {at}) {value})");
            expected.extend_from_slice(nan);
            at += nan.len();
        }
    }
    assert_eq!(stored(&core, expected.len()).await, expected);
}

#[tokio::test]
async fn relaxed_simd_follows_the_deterministic_profile() {
    let core = "(i32.store (i32.const 2048) (i32.const 0x7fc00000))
        (i32.store (i32.const 2052) (i32.const 0x80008000))
        (v128.store (i32.const 1024) (i32x4.relaxed_trunc_f32x4_s (v128.load32_splat (i32.const 2048))))
        (v128.store (i32.const 1040)
          (i16x8.relaxed_q15mulr_s (v128.load32_splat (i32.const 2052)) (v128.load32_splat (i32.const 2052))))";
    // NaN becomes 0, and -1 times -1 the largest number there is.
    let expected = [[0; 16].to_vec(), [0xff, 0x7f].repeat(8)].concat();
    assert_eq!(stored(core, 32).await, expected);
}

#[tokio::test]
async fn memory_grows_up_to_the_limit_exactly() {
    let pages = Limits::CEILING.memory_bytes / 65_536;
    // Both memories have two pages together with which the component begins; each grows page by page in turn until one
    // is refused. Answers how many there are.
    let grows = "(memory $second 0)
        (func $run (param i32 i32) (result i32)
          (loop $again
            (br_if $again (i32.and
              (i32.ne (memory.grow 0 (i32.const 1)) (i32.const -1))
              (i32.ne (memory.grow $second (i32.const 1)) (i32.const -1)))))
          (i32.store (i32.const 1024) (i32.add (memory.size 0) (memory.size $second)))
          (call $answer (i32.const 1024) (i32.const 4)))";
    let outcome = Bench::new().event(grows, Limits::CEILING).await;
    let End::Returned(Some(answer)) = outcome.end else { panic!("no answer") };
    assert_eq!(u32::from_le_bytes(answer.try_into().unwrap()), pages as u32);
    assert_eq!(outcome.usage.memory_peak_bytes, Limits::CEILING.memory_bytes);
}

#[tokio::test]
async fn growth_beyond_a_declared_maximum_uses_no_memory() {
    let grows = "(memory $second 0 10) (table $t 0 100 funcref)
        (func $run (param i32 i32) (result i32)
          (i32.store (i32.const 1024) (memory.grow $second (i32.const 11)))
          (i32.store (i32.const 1028) (table.grow $t (ref.null func) (i32.const 101)))
          (call $answer (i32.const 1024) (i32.const 8)))";
    let outcome = Bench::new().event(grows, Limits::DEFAULT).await;
    assert!(matches!(outcome.end, End::Returned(Some(answer)) if answer == [0xff; 8]));
    assert_eq!(outcome.usage.memory_peak_bytes, 2 * 65_536);
}
