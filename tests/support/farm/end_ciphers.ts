interface Finishable {
  final(): unknown;
}

/** The part of ssh2's insides that holds the two ciphers of a connection. */
interface Insides {
  readonly _protocol?: {
    readonly _cipher?: { readonly _cipherInstance?: Finishable | null };
    readonly _decipher?: { readonly _decipherInstance?: Finishable | null };
  };
}

/**
 * Ends the stream ciphers (AES-CTR, AES-CBC) of a closed connection of ssh2 1.17.0. Deno 2.9 frees a cipher
 * only when it is finalised, never when it is collected, and ssh2 finalises none: two leak per connection.
 */
export function endCiphers(closed: object): void {
  const { _protocol: protocol }: Insides = closed;
  for (
    const cipher of [protocol?._cipher?._cipherInstance, protocol?._decipher?._decipherInstance]
  ) {
    try {
      cipher?.final();
    } catch {
      // A CBC decipher that stopped inside of a block, or a GCM one inside of a packet, is freed all the same.
    }
  }
}
