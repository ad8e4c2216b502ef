const std = @import("std");
const larder = @import("larder");

comptime {
    _ = @import("app");
}

fn run(data: [*:0]const u8) larder.larder_test_run_t {
    return larder.larder_test("card.purchase", data, "card-1");
}

test "saves what is missing to the next ten" {
    const did = run("{\"amount\":\"42.50\",\"currency\":\"SEK\"}");
    try std.testing.expectEqual(1, did.saved_count);
    try std.testing.expectEqualStrings("7.50 SEK", std.mem.sliceTo(&did.saved[0], 0));
    try std.testing.expectEqual(0, run("{\"amount\":\"40\",\"currency\":\"SEK\"}").saved_count);
}

test "rejects what is no purchase" {
    const did = run("{\"amount\":42.5,\"currency\":\"SEK\"}");
    try std.testing.expect(std.mem.startsWith(u8, &did.rejected, "not a purchase"));
}
