import { PageHeader } from "~/ui/page-header";

export function Page() {
  return <PageHeader title="Person" />;
}
