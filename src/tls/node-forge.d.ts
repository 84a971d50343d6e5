/**
 * Types for the single files of node-forge that we load: its index alone costs 28 ms, lib/asn1.js 5 ms.
 * Bytes are strings of code units 0 to 255.
 */
declare module 'node-forge/lib/asn1.js' {
  type Asn1 = {
    tagClass: number
    type: number
    constructed: boolean
    composed: boolean
    value: string | Asn1[]
  }
  type ByteBuffer = { getBytes(): string }
  const asn1: {
    create(tagClass: number, type: number, constructed: boolean, value: string | Asn1[]): Asn1
    fromDer(
      bytes: string,
      options: { strict: boolean; parseAllBytes: boolean; decodeBitStrings: boolean },
    ): Asn1
    toDer(node: Asn1): ByteBuffer
    oidToDer(oid: string): ByteBuffer
    derToOid(bytes: string): string
  }
  export = asn1
}

declare module 'node-forge/lib/pkcs12.js' {
  type ByteBuffer = { getBytes(count?: number): string; length(): number }
  const pkcs12: {
    /** RFC 7292 appendix B; id 3 is for the key of a MAC. `digest` is used many times over. */
    generateKey(
      password: string,
      salt: ByteBuffer,
      id: number,
      iterations: number,
      length: number,
      digest: unknown,
    ): ByteBuffer
  }
  export = pkcs12
}

declare module 'node-forge/lib/sha256.js' {
  const sha256: { create(): unknown }
  export = sha256
}

declare module 'node-forge/lib/hmac.js' {
  const hmac: {
    create(): {
      start(digest: 'sha256', key: string): void
      update(bytes: string): void
      digest(): { getBytes(): string }
    }
  }
  export = hmac
}

declare module 'node-forge/lib/util.js' {
  type ByteBuffer = { getBytes(count?: number): string; length(): number }
  const util: { createBuffer(bytes: string): ByteBuffer }
  export = util
}
