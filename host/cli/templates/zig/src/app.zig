//! Saves what is missing to the next ten of each purchase.

const std = @import("std");
const larder = @import("larder");

export fn exports_larder_handle(
    event: *larder.larder_event_t,
    answer: *larder.larder_option_list_u8_t,
    failure: *larder.larder_handler_error_t,
) bool {
    defer larder.larder_event_free(event);
    answer.is_some = false;
    var amount: [32]u8 = undefined;
    var currency: [4]u8 = undefined;
    var price: i64 = undefined;
    if (!larder.larder_json_text(&event.data, "amount", &amount, amount.len) or
        !larder.larder_json_text(&event.data, "currency", &currency, currency.len) or
        !larder.larder_hundredths(&amount, &price))
    {
        return larder.larder_reject(failure, "not a purchase: it has no amount and currency as text");
    }
    const saving = @mod(-price, 1000);
    if (saving == 0) return true;
    var why: larder.larder_string_t = undefined;
    if (!larder.larder_save(saving, &currency, "Round-up", &why)) {
        // The host's words become ours.
        failure.* = .{ .tag = larder.LARDER_HANDLER_ERROR_REJECT, .val = .{ .reject = why } };
        return false;
    }
    larder.larder_amount(saving, &amount);
    _ = std.c.printf("saved %s %s\n", &amount, &currency);
    return true;
}
