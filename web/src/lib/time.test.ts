import { describe, expect, test } from "vitest";
import { groupOf } from "./time";

const at = (text: string) => new Date(text);

describe("the headings of the drawer go by the reader's calendar days", () => {
  test.each([
    ["2026-05-10T00:01:00", "2026-05-10T23:59:00", "Today"],
    ["2026-05-09T23:59:00", "2026-05-10T00:01:00", "Yesterday"],
    ["2026-05-08T12:00:00", "2026-05-10T08:00:00", "Previous 7 days"],
    ["2026-05-03T00:00:00", "2026-05-10T23:00:00", "Previous 7 days"],
    ["2026-05-02T23:59:00", "2026-05-10T00:00:00", "Last 30 days"],
    ["2026-04-10T00:00:00", "2026-05-10T12:00:00", "Last 30 days"],
    ["2026-04-09T23:00:00", "2026-05-10T12:00:00", "Older"],
    ["2026-05-10T00:00:01", "2026-05-09T23:59:59", "Today"],
  ])("%s seen at %s is %s", (modified, now, heading) => {
    expect(groupOf(at(modified), at(now))).toBe(heading);
  });

  test("a day of 23 hours is a day", () => {
    expect(groupOf(at("2026-03-28T12:00:00"), at("2026-03-29T12:00:00"))).toBe("Yesterday");
  });
});
