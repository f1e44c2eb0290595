import { Anchor } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useRouter, type ErrorComponentProps } from "@tanstack/react-router";
import { useCan } from "~/api/me";
import { boot } from "~/boot";
import { capital } from "~/lib/words";
import { ButtonLink } from "~/ui/link";
import { PageHeader } from "~/ui/page-header";
import { findAdmins } from "./find";
import { DeniedState, EmptyState, ErrorState } from "~/ui/states";

export function PageMissing() {
  return (
    <>
      <PageHeader title="No such page" />
      <EmptyState title="There is nothing at this address" action={<ButtonLink to="/" variant="default">Go to the overview</ButtonLink>}>
        The link may be old, or what it pointed at was deleted.
      </EmptyState>
    </>
  );
}

export function PageDenied({ permission, what }: { permission: string; what?: string }) {
  const can = useCan();
  const admins = useQuery({ ...findAdmins, enabled: boot.mode === "tenant" && can("members:read") }).data ?? [];
  return (
    <>
      <PageHeader title={what ? capital(what) : "Not open to you"} />
      <DeniedState permission={permission}>
        {admins.length > 0 ? (
          <>
            Ask{" "}
            {admins.map((email, i) => (
              <span key={email}>
                {i > 0 && (i === admins.length - 1 ? " or " : ", ")}
                <Anchor href={`mailto:${email}`}>{email}</Anchor>
              </span>
            ))}{" "}
            for a role that has it.
          </>
        ) : (
          "Ask an administrator of this tenant for a role that has it."
        )}
      </DeniedState>
    </>
  );
}

export function PageError({ error, reset }: ErrorComponentProps) {
  const router = useRouter();
  return (
    <>
      <PageHeader title="This page failed" />
      <ErrorState error={error} onRetry={() => { reset(); void router.invalidate(); }} />
    </>
  );
}

