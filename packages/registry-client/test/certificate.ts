/** A key and a certificate that it signed itself, by openssl. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Paths of the two, in PEM; disposing removes them. */
export interface CertificateFiles extends Disposable {
  key: string;
  certificate: string;
}

/** Makes them for 127.0.0.1. Where there is no openssl: prints what that costs, and returns undefined. */
export function makeCertificate(): CertificateFiles | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'tare-certificate-'));
  const files = { key: join(folder, 'key.pem'), certificate: join(folder, 'cert.pem') };
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const how = 'req -x509 -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=lab';
  const where = ['-keyout', files.key, '-out', files.certificate, '-addext', 'subjectAltName=IP:127.0.0.1'];
  try {
    execFileSync('openssl', [...how.split(' '), ...where], { stdio: 'pipe' });
  } catch (error) {
    remove();
    console.warn(
      `skipped: registries with TLS or signed tokens: openssl does not run: ${(error as Error).message}`,
    );
    return undefined;
  }
  return { ...files, [Symbol.dispose]: remove };
}
