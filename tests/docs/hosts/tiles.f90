! SPDX-License-Identifier: Apache-2.0
! A host with (i, level, j) tiles, halos and a water point on MPI ranks; coupled as docs/coupling_a_host.md says.
module tile
   use, intrinsic :: iso_fortran_env, only: real64
   use mpi_f08, only: mpi_comm
   use coupler_plugin, only: coupler_t
   implicit none
   type(coupler_t) :: coupler
contains
   include 'tiles.inc'
end module tile

program tiles
   use mpi_f08, only: mpi_init, mpi_finalize, mpi_comm_rank, mpi_comm_size, MPI_COMM_WORLD
   use tile, only: coupler, couple
   implicit none
   integer, parameter :: nx = 6, ny = 5, nz = 3, halo = 2, its = 1, ite = nx, ims = its - halo, ime = ite + halo
   integer :: rank, ranks, jts, jte, jms, jme, i, j, istep
   integer, allocatable :: id(:, :)
   real, allocatable, target :: lon(:, :), lat(:, :), t(:, :, :), swdown(:, :), lai(:, :)
   real, allocatable :: expected(:, :)

   call mpi_init()
   call mpi_comm_rank(MPI_COMM_WORLD, rank)
   call mpi_comm_size(MPI_COMM_WORLD, ranks)
   jts = rank*ny/ranks + 1
   jte = (rank + 1)*ny/ranks
   jms = jts - halo
   jme = jte + halo
   allocate (id(ims:ime, jms:jme), lon(ims:ime, jms:jme), lat(ims:ime, jms:jme), t(ims:ime, nz, jms:jme))
   allocate (swdown(ims:ime, jms:jme), lai(ims:ime, jms:jme), expected(ims:ime, jms:jme))
   do j = jms, jme
      do i = ims, ime
         id(i, j) = (j - 1)*nx + i
      end do
   end do
   id(3, jts) = 0                   ! a water point
   lon = -88
   lat = 40
   swdown = 200
   t = huge(1.0)                    ! what is bound is the lowest level of the tile's own cells, and nothing else
   t(its:ite, 1, jts:jte) = 280 + 0.1*id(its:ite, jts:jte)
   lai = -1
   expected = -1
   where (id(its:ite, jts:jte) > 0) expected(its:ite, jts:jte) = 0.01*(280 + 0.1*id(its:ite, jts:jte) - 273.15) + 0.2
   call couple(MPI_COMM_WORLD, id, lon, lat, t, swdown, lai, ims, ime, nz, jms, jme, its, ite, jts, jte)
   do istep = 1, 2
      call coupler%step()
   end do
   call coupler%finalize()
   print '(a, i0, a, l1)', 'tiles', rank, '=', all(abs(lai - expected) < 1e-5)
   call mpi_finalize()
end program tiles
