(* 2 x 2 matrices with explicit entries: counterexamples of two neurons are evaluated here. *)
From dlinear Require Export evaluation.
From dlinear Require Export real_matrices.
From dlinear Require Export single.

Definition pair (a b c d : R) : reals 1 :=
  mk 1 (fun i j => match i, j with O, O => a | O, S _ => b | S _, O => c | S _, S _ => d end).
Lemma pair_eq (x : reals 1) a b c d :
  ent 1 x 0 0 = a -> ent 1 x 0 1 = b -> ent 1 x 1 0 = c -> ent 1 x 1 1 = d -> x = pair a b c d.
Proof.
  intros A B C D; apply mat_eq; intros i j Hi Hj; unfold pair; rewrite ent_mk by auto.
  destruct i as [|[|i]]; destruct j as [|[|j]]; try lia; easy.
Qed.
Lemma pair_ent a b c d : ent 1 (pair a b c d) 0 0 = a /\ ent 1 (pair a b c d) 0 1 = b /\
  ent 1 (pair a b c d) 1 0 = c /\ ent 1 (pair a b c d) 1 1 = d.
Proof. unfold pair; rewrite !ent_mk by lia; easy. Qed.
Lemma pair_inj a b c d p q r s : pair a b c d = pair p q r s -> a = p /\ b = q /\ c = r /\ d = s.
Proof.
  intros H; destruct (pair_ent a b c d) as [A [B [C D]]]; destruct (pair_ent p q r s) as [P [Q [U V]]].
  rewrite H in A, B, C, D; rewrite P in A; rewrite Q in B; rewrite U in C; rewrite V in D; auto.
Qed.
Lemma pair_one : @mone (reals 1) = pair 1 0 0 1.
Proof. apply pair_eq; change (@mone (reals 1)) with (real_matrices.one 1); unfold real_matrices.one; now rewrite ent_mk by lia. Qed.
Lemma pair_plus a b c d p q r s : (pair a b c d + pair p q r s)%M = pair (a + p) (b + q) (c + r) (d + s).
Proof.
  destruct (pair_ent a b c d) as [A [B [C D]]]; destruct (pair_ent p q r s) as [P [Q [U V]]].
  apply pair_eq; change (pair a b c d + pair p q r s)%M with (real_matrices.plus 1 (pair a b c d) (pair p q r s));
    unfold real_matrices.plus; rewrite ent_mk by lia; rewrite ?A, ?B, ?C, ?D, ?P, ?Q, ?U, ?V; easy.
Qed.
Lemma pair_scale t a b c d : (t *: pair a b c d)%M = pair (t * a) (t * b) (t * c) (t * d).
Proof.
  destruct (pair_ent a b c d) as [A [B [C D]]].
  apply pair_eq; change (t *: pair a b c d)%M with (real_matrices.scal 1 t (pair a b c d));
    unfold real_matrices.scal; rewrite ent_mk by lia; rewrite ?A, ?B, ?C, ?D; easy.
Qed.
Lemma pair_tsp a b c d : tsp (pair a b c d) = pair a c b d.
Proof.
  destruct (pair_ent a b c d) as [A [B [C D]]].
  apply pair_eq; change (tsp (pair a b c d)) with (flipm 1 (pair a b c d));
    unfold flipm; rewrite ent_mk by lia; rewrite ?A, ?B, ?C, ?D; easy.
Qed.
Lemma pair_prod a b c d p q r s : (pair a b c d * pair p q r s)%M
  = pair (a * p + b * r) (a * q + b * s) (c * p + d * r) (c * q + d * s).
Proof.
  destruct (pair_ent a b c d) as [A [B [C D]]]; destruct (pair_ent p q r s) as [P [Q [U V]]].
  apply pair_eq; change (pair a b c d * pair p q r s)%M with (prod 1 (pair a b c d) (pair p q r s));
    rewrite prod_ent by lia; simpl big; rewrite ?A, ?B, ?C, ?D, ?P, ?Q, ?U, ?V; ring.
Qed.
Lemma frob_pair a b c d : frob 1 (pair a b c d) = sqrt (a * a + b * b + c * c + d * d).
Proof.
  destruct (pair_ent a b c d) as [A [B [C D]]].
  unfold frob; f_equal; rewrite ip_cols; unfold dot, col; simpl big; rewrite ?A, ?B, ?C, ?D; ring.
Qed.
Lemma spec_pair x b : frob 1 x <= b -> spec 1 x <= b.
Proof. intros H; apply Rle_trans with (frob 1 x); [apply spec_frob|easy]. Qed.

Ltac entries_of_two :=
  repeat first [rewrite pair_one | rewrite pair_tsp | rewrite pair_scale | rewrite pair_plus | rewrite pair_prod];
  rewrite ?frob_pair.
Ltac evaluate_pair :=
  lazymatch goal with
  | |- forall t : Z, _ =>
      intros t; cbv beta;
      repeat match goal with |- context [Z.eqb t ?b] => destruct (Z.eqb t b) end;
      apply spec_pair; rewrite frob_pair;
      match goal with |- sqrt ?x <= ?b => apply Rle_trans with (sqrt (b * b));
        [apply sqrt_le_1_alt; lra | rewrite sqrt_square; lra] end
  | |- _ = _ -> False =>
      whole_sums; windows; decided; layers; entries_of_two; let H := fresh in intros H; apply pair_inj in H; lra
  | |- @eq (carrier _) _ _ => whole_sums; windows; decided; layers; entries_of_two; f_equal; lra
  | _ => whole_sums; windows; decided; layers; entries_of_two; evaluate
  end.
