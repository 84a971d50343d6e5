/**
 * Types for the single files of node-forge that we load: its index alone costs 28 ms, lib/asn1.js 5 ms.
 */
declare module 'node-forge/lib/asn1.js' {
  namespace asn1 {
    type Asn1 = {
      tagClass: number
      type: number
      constructed: boolean
      composed: boolean
      value: string | Asn1[]
    }
    /** Bytes as a string of code units 0 to 255. */
    type ByteBuffer = { getBytes(): string }
    function create(tagClass: number, type: number, constructed: boolean, value: string | Asn1[]): Asn1
    function fromDer(
      bytes: string,
      options: { strict: boolean; parseAllBytes: boolean; decodeBitStrings: boolean },
    ): Asn1
    function toDer(node: Asn1): ByteBuffer
    function oidToDer(oid: string): ByteBuffer
    function derToOid(bytes: string): string
  }
  export = asn1
}

declare module 'node-forge/lib/pkcs12.js' {
  namespace pkcs12 {
    type Digest = { start(): Digest; update(bytes: string): Digest; digest(): { getBytes(): string } }
    /** RFC 7292 appendix B: id 3 gives key material for a MAC. */
    function generateKey(
      password: string,
      salt: { getBytes(count?: number): string; length(): number },
      id: 1 | 2 | 3,
      iterations: number,
      length: number,
      digest?: Digest,
    ): { getBytes(): string }
  }
  export = pkcs12
}

declare module 'node-forge/lib/sha256.js' {
  namespace sha256 {
    type Digest = { start(): Digest; update(bytes: string): Digest; digest(): { getBytes(): string } }
    function create(): Digest
  }
  export = sha256
}

declare module 'node-forge/lib/hmac.js' {
  namespace hmac {
    type Hmac = {
      start(digest: 'sha256', key: string): void
      update(bytes: string): void
      digest(): { getBytes(): string }
    }
    function create(): Hmac
  }
  export = hmac
}

declare module 'node-forge/lib/util.js' {
  namespace util {
    type ByteStringBuffer = { getBytes(count?: number): string; length(): number }
    function createBuffer(bytes: string): ByteStringBuffer
  }
  export = util
}
