/** An id that nobody else has: 26 characters of 32, as the service's own are. */
export function newId(): string {
  const letters = "abcdefghijklmnopqrstuvwxyz234567";
  return Array.from(crypto.getRandomValues(new Uint8Array(26)), (byte) => letters[byte & 31]).join("");
}
